"""The measurements of tools/gpu_check.sh: tests, kernels, networks, localization, training, half precision.

Each part has a share of the time. What does not fit is listed as left out, so that no number is missing
without a word. A part that fails is reported with its error, and the others go on.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diff2i2p_core.benchmarks.measure import Case, Timing, cases_of, compared, machine, measure
from diff2i2p_core.benchmarks.network import FULL_POINTS, LITE_POINTS, localization, training_step
from diff2i2p_core.engine.config_file import load_config
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import rotation_error_deg, translation_error
from diff2i2p_core.io.files import check_output_folder, write_text
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.settings import PRECISIONS, LocalizerSettings
from diff2i2p_core.localization.tracker import Tracker
from diff2i2p_core.mapping.matchers import Matcher
from diff2i2p_core.models.config import lite_config
from diff2i2p_core.models.released import released_config
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames

REPO = Path(__file__).resolve().parents[1]
SECONDS = {"tests": 90, "ops": 60, "network": 110, "views": 30, "localize": 75, "training": 45, "half": 60}
"""The share of each part. Together they are at most 8 minutes."""
CASE_SECONDS = 1.5
"""After which three runs of a case are enough."""
SEED = 20_000
"""A room that no weights were trained on."""
Rows = Iterator[dict[str, Any]]


class Check:
    """The settings of a run. A dry run has tiny sizes, on the CPU."""

    def __init__(self, dry: bool) -> None:
        self.dry = dry
        self.device = "cpu" if dry else "cuda"
        self.runs = 2 if dry else 30
        self.frames = 6 if dry else 40
        self.camera = (
            Camera(320, 240, 262, 262, 159.5, 119.5) if dry else Camera(640, 480, 525, 525, 319.5, 239.5)
        )

    def parts(self) -> dict[str, Callable[[], Rows]]:
        return {
            "tests": self.tests,
            **{name: partial(self.benchmark, cases_of(name)) for name in ("ops", "network", "views")},
            "localize": self.localize,
            "training": self.training,
            "half": self.half,
        }

    def tests(self) -> Rows:
        where = ["tests/ops/kernels/test_splat_kernel.py"] if self.dry else []
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", *where]
        done = subprocess.run(
            command,
            cwd=REPO,
            capture_output=True,
            text=True,
            timeout=None if self.dry else SECONDS["tests"],
            check=False,
        )
        counted = re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)
        counts = {what: int(number) for number, what in counted}
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M)
        yield {"case": "pytest -m gpu", "status": done.returncode, **counts, "names of failed": failed}

    def benchmark(self, cases: list[Case]) -> Rows:
        """A row for each case; a kernel stands beside its torch reference of the same run."""
        before: list[Timing] = []
        on_cpu = [case for case in cases if case.kernel_of is None and not case.needs_gpu]
        for case in on_cpu[-1:] if self.dry else cases:
            # Not apart, and with all runs: the limits are made for a CPU.
            here = replace(case, apart=False, most_runs=None)
            timing = compared(measure(here, self.device, self.runs, 2, CASE_SECONDS), case, before)
            before.append(timing)
            keys = ("median_ms", "lower_quartile_ms", "upper_quartile_ms", "gpu_peak_mb", "times_faster")
            values = {key: getattr(timing, key) for key in (*keys, "times_less_memory")}
            yield {"case": case.name, **{key: value for key, value in values.items() if value is not None}}

    def localize(self) -> Rows:
        """Images per second: one by one in the whole map, and as the node does it, with a prior."""
        matchers: tuple[Matcher, ...] = ("views",) if self.dry else ("views", "network")
        for matcher in matchers:
            localizer, queries = self._room(matcher)
            name = "lite-rgb" if matcher == "network" else matcher
            tracker = Tracker(localizer)
            alone = (localizer.localize(frame.image, self.camera) for frame in queries)
            # One image a second: from one to the next, the camera turns by up to 40 degrees.
            tracked = (
                tracker.localize(frame.image, self.camera, 10**9 * number)
                for number, frame in enumerate(queries)
            )
            for way, answers in (("batch 1", alone), ("as the node", tracked)):
                next(answers)  # the first image takes longer
                start = time.perf_counter()
                localized = [answer.localized for answer in answers]
                yield {
                    "case": f"{name}, {way}",
                    "images_per_s": len(localized) / (time.perf_counter() - start),
                    "localized": sum(localized),
                    "images": len(localized),
                }
        for name, config, points in (
            ("full", released_config(), FULL_POINTS),
            ("lite", lite_config(), LITE_POINTS),
        ):
            if not self.dry:
                work = localization(config, points, self.device, candidates=1)
                yield {"case": f"{name}, 1 candidate, untrained", "images_per_s": self._per_second(work)}

    def training(self) -> Rows:
        os.environ.setdefault("DIFF2I2P_DATA", "data")  # named in the configuration, not needed here
        configs = {
            "7scenes-corrected-mono": (
                load_config(REPO / "training/configs/7scenes-corrected-mono.yaml").model.build(),
                FULL_POINTS,
            ),
            "lite": (lite_config(), LITE_POINTS),
        }
        for name, (config, points) in configs.items():
            for bf16 in (False, True):
                if not self.dry or (name == "lite" and not bf16):
                    work = training_step(config, 500 if self.dry else points, self.device, bf16=bf16)
                    case = f"{name}, {'bfloat16' if bf16 else 'float32'}"
                    yield {"case": case, "steps_per_s": self._per_second(work)}

    def half(self) -> Rows:
        """How far poses of the network move with half precision."""
        localizer, queries = self._room("network")
        poses = {}
        for precision in PRECISIONS[:2] if self.dry else PRECISIONS:
            localizer.settings = LocalizerSettings(precision=precision)
            answers = [localizer.localize(frame.image, self.camera) for frame in queries]
            poses[precision] = [answer.map_from_camera for answer in answers]
            both = [
                (a, b)
                for a, b in zip(poses["float32"], poses[precision], strict=True)
                if a is not None and b is not None
            ]
            row: dict[str, Any] = {"case": precision, "images": len(queries), "in both": len(both)}
            if both:
                millimetres = [1000 * translation_error(*pair) for pair in both]
                row["median_mm"], row["largest_mm"] = float(np.median(millimetres)), max(millimetres)
                row["largest_deg"] = max(rotation_error_deg(*pair) for pair in both)
            yield row

    def _room(self, matcher: Matcher) -> tuple[Localizer, list[Any]]:
        """A map of every second frame of a drawn room, and the other frames."""
        with tempfile.TemporaryDirectory() as folder:
            room = make_room(SEED)
            write_frames(folder, room, self.camera, camera_path(room, self.frames, SEED))
            numbers = range(self.frames)
            localizer = Localizer.from_frames(folder, numbers[::2], matcher=matcher, device=self.device)
            frames = PosedFrames(Path(folder))
            return localizer, [frames[index] for index in numbers[1::2]]

    def _per_second(self, work: Callable[[], Any]) -> float:
        timing = measure(Case("", lambda device: work), self.device, 2 if self.dry else 10, warm_up=1)
        return 1000 / timing.median_ms


def run_part(rows: Callable[[], Rows], seconds: float) -> dict[str, Any]:
    """The rows that fit into the time, and the error that ended the part, if any."""
    start, done, error = time.monotonic(), [], ""
    try:
        for row in rows():
            done.append(row)
            if time.monotonic() - start > seconds:
                error = f"the rest is left out: {seconds:.0f} s are over"
                break
    except Exception as problem:  # of whatever kind: the other parts are still worth their numbers
        error = f"{type(problem).__name__}: {problem}"
    return {"rows": done, "error": error, "seconds": round(time.monotonic() - start, 1)}


def as_markdown(content: dict[str, Any]) -> str:
    lines = ["# GPU check", "", ", ".join(f"{key}: {value}" for key, value in content["machine"].items())]
    for name, part in content["parts"].items():
        keys = list(dict.fromkeys(key for row in part["rows"] for key in row))
        lines += ["", f"## {name}", "", f"{part['seconds']} s. {part['error']}".strip(), ""]
        if keys:
            lines += ["| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
        lines += ["| " + " | ".join(_cell(row.get(key, "")) for key in keys) + " |" for row in part["rows"]]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/gpu_check.sh", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for gpu_check.json and gpu_check.md")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU")
    options = parser.parse_args()
    names = ("gpu_check.json", "gpu_check.md")
    try:
        check_output_folder(options.out, files=names)
        if not options.dry_run and not torch.cuda.is_available():
            raise InputError("no CUDA device; use --dry-run to check the script on the CPU")
    except InputError as error:
        print(f"gpu_check: {error}", file=sys.stderr)
        return 2
    check = Check(options.dry_run)
    content: dict[str, Any] = {"machine": machine(check.device), "dry_run": check.dry, "parts": {}}
    for name, rows in check.parts().items():
        print(f"gpu_check: {name}", file=sys.stderr)
        content["parts"][name] = run_part(rows, math.inf if check.dry else SECONDS[name])
        write_text(options.out / names[0], json.dumps(content, indent=1) + "\n")
        write_text(options.out / names[1], as_markdown(content))
    failed = [name for name, part in content["parts"].items() if part["error"] or _tests_failed(part)]
    print(f"{options.out / names[1]}: {len(content['parts'])} parts" + "".join(f"; see {n}" for n in failed))
    return 1 if failed else 0


def _tests_failed(part: dict[str, Any]) -> bool:
    return any(row.get("status", 0) not in (0, 5) for row in part["rows"])  # 5: no test was selected


if __name__ == "__main__":
    sys.exit(main())
