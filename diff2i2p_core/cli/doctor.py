"""`diff2i2p doctor`: says what is installed, what is missing, and how to fix it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from diff2i2p_core.errors import InputError

SETUP = "run `make setup` in the repository"
PYTHONS = ((3, 10), (3, 13))
SHM_NEEDED = 64 * 2**20
"""Bytes in /dev/shm: Fast DDS keeps a segment of 16 MiB there for each of the demo's processes."""
DISK_NEEDED = 2**30
"""Bytes for the maps, results and logs of a first session."""

# ROS is checked in another process: this package imports no ROS module, and a broken one must not stop it.
ROS_PROBE = """
import json, rclpy
from rclpy.utilities import get_rmw_implementation_identifier
found = {"rmw": get_rmw_implementation_identifier()}
try:
    from tf2_msgs.msg import TFMessage
    TFMessage.__class__.__import_type_support__()
    found["tf2_msgs"] = ""
except Exception as error:
    found["tf2_msgs"] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""

# Parts of ROS 2 that are not on PyPI, and what happens without them.
REPLACED = {
    "tf2_ros": "replaced by the node's own TF buffer",
    "cv_bridge": "replaced by the node's own image conversion",
    "launch_ros": "no launch files; start the node with `python -m diff2i2p.localization_node`",
}


@dataclass(frozen=True)
class Check:
    """One line of the report. `fix` is empty if there is nothing to do."""

    name: str
    status: Literal["ok", "note", "missing"]
    found: str
    fix: str = ""


def doctor(
    ros: Annotated[bool, typer.Option("--ros", help="Check a running ROS 2 node instead.")] = False,
    node: Annotated[str, typer.Option(help="Full name of that node.")] = "/diff2i2p",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what is installed, what is missing and how to fix it. Exit status 2 if it cannot run yet."""
    report = graph_checks(node) if ros else checks()
    ready = all(check.status != "missing" for check in report)
    if as_json:
        print(json.dumps({"ready": ready, "checks": [asdict(check) for check in report]}))
    else:
        _print(report, ready)
    raise typer.Exit(0 if ready else 2)


def checks() -> list[Check]:
    """All checks, in the order in which to fix faults."""
    return [
        _python(),
        _torch(),
        *_kernels(),
        _module("opencv", "cv2", "opencv-python-headless"),
        _module("poselib", "poselib", "poselib", without="PnP by OpenCV's USAC instead"),
        _module("rosbags", "rosbags", "rosbags", without="bags cannot be read"),
        *_ros(),
        *_weights(),
        _features(),
        *_room(),
    ]


def graph_checks(node: str) -> list[Check]:
    """Faults of a running node. The ROS package checks them in a separate process."""
    command = [sys.executable, "-m", "diff2i2p.graph_check", "--node", node]
    probe = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if probe.returncode:
        reason = (probe.stderr.strip().splitlines() or ["no output"])[-1]
        return [
            Check(
                "ROS 2 graph", "missing", reason, f"{SETUP}, or source the workspace; then `diff2i2p doctor`"
            )
        ]
    return [Check(**row) for row in json.loads(probe.stdout.strip().splitlines()[-1])]


def _python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    text = f"{version}, {sys.prefix}"
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return Check("Python", "ok", text)
    return Check("Python", "note", text, "tested with 3.10 to 3.13; choose one: PYTHON=python3.12 make setup")


def _torch() -> Check:
    try:
        import torch
    except Exception as error:
        return Check("PyTorch", "missing", _reason(error), SETUP)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"{torch.__version__}, {torch.get_num_threads()} threads on {cores} cores"
    if torch.cuda.is_available():
        return Check("PyTorch", "ok", f"{text}, CUDA {torch.version.cuda}: {torch.cuda.get_device_name()}")
    return Check("PyTorch", "ok", f"{text}, no CUDA device")


def _kernels() -> Iterator[Check]:
    """Run one kernel on the GPU. The first launch compiles its launcher in C."""
    try:
        import torch

        if not torch.cuda.is_available():
            return
        from diff2i2p_core.ops.backend import use_triton
        from diff2i2p_core.ops.grid import grid_subsample

        points = torch.zeros(1, 3, device="cuda")
        grid_subsample(points, 0.1, [1])[0].cpu()
        kind = "Triton's" if use_triton(points) else "none for this GPU: torch's operations"
        yield Check("GPU kernels", "ok", kind)
    except Exception as error:
        fix = "apt install gcc python3-dev; without kernels: DIFF2I2P_OPS=torch, slower"
        yield Check("GPU kernels", "note", f"{_reason(error)}: only --device cpu will run", fix)


def _module(name: str, module: str, package: str, without: str = "") -> Check:
    """Import a Python package. A failure is only a note if the method can do `without` it."""
    try:
        importlib.import_module(module)
    except Exception as error:
        text = f"{_reason(error)}: {without}" if without else _reason(error)
        return Check(name, "note" if without else "missing", text, f"pip install {package}")
    try:
        return Check(name, "ok", importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "ok", "installed outside pip")


def _ros() -> Iterator[Check]:
    try:
        probe = subprocess.run(
            [sys.executable, "-c", ROS_PROBE], capture_output=True, text=True, timeout=60, check=False
        )
        output, fault = probe.stdout, probe.stderr.strip().splitlines()[-1:] if probe.returncode else []
    except subprocess.TimeoutExpired:
        output, fault = "", ["rclpy does not start within 60 s"]
    fix = f"{SETUP}, or source a ROS 2 installation first"
    if fault or not output.strip():
        yield Check("ROS 2", "missing", fault[0] if fault else "rclpy does not start", fix)
        return
    answer = json.loads(output.strip().splitlines()[-1])
    origin = os.environ.get("ROS_DISTRO", "from PyPI")
    yield Check("ROS 2", "ok", f"{origin}, {answer['rmw']}, domain {os.environ.get('ROS_DOMAIN_ID', '0')}")
    fault = [answer["tf2_msgs"]] if answer["tf2_msgs"] else []
    yield Check("tf2_msgs", "missing", fault[0], fix) if fault else Check("tf2_msgs", "ok", "loads")
    if importlib.util.find_spec("diff2i2p") is None:
        yield Check(
            "ROS 2 node", "missing", "package diff2i2p is not installed", f"{SETUP}, or colcon build ros2_ws"
        )
    else:
        yield Check("ROS 2 node", "ok", "package diff2i2p")
    for module, instead in REPLACED.items():
        present = importlib.util.find_spec(module) is not None
        yield Check(module, "ok", "present") if present else Check(module, "note", f"absent: {instead}")


def _weights() -> Iterator[Check]:
    try:
        from diff2i2p_core.weights.checkpoint import (
            COLORLESS_WEIGHTS,
            DEFAULT_WEIGHTS,
            load_model,
            resolve_weights,
            shipped_weights,
        )

        defaults = {DEFAULT_WEIGHTS, COLORLESS_WEIGHTS}
        names = sorted(defaults | set(shipped_weights()))
    except Exception as error:
        yield Check("weights", "missing", _reason(error), SETUP)
        return
    for name in names:
        try:
            path = resolve_weights(name)
            parameters = sum(parameter.numel() for parameter in load_model(path).parameters())
        except InputError as error:
            fix = "check the repository out again, or install the package again"
            yield Check(f"weights {name}", "missing" if name in defaults else "note", str(error), fix)
        else:
            megabytes = path.stat().st_size / 1e6
            yield Check(f"weights {name}", "ok", f"{megabytes:.1f} MB, {parameters / 1e6:.1f} M parameters")


def _features() -> Check:
    """Check the features without fetching anything."""
    from diff2i2p_core.weights.xfeat import LICENCE, NAME, load_xfeat, xfeat_path

    name, fix, without = (
        f"weights {NAME}",
        f"diff2i2p weights fetch {NAME}",
        "no localization by rendered views",
    )
    path = xfeat_path()
    if not path.is_file():
        return Check(name, "note", f"not fetched yet: {without}", fix)
    try:
        load_xfeat(path)
    except InputError:
        return Check(name, "note", f"{path} is damaged: {without}", fix)
    return Check(name, "ok", f"{path.stat().st_size / 1e6:.1f} MB, {LICENCE}")


def _room() -> Iterator[Check]:
    """Free space for results, temporary files and DDS segments."""
    locations = [
        ("disk here", Path.cwd(), DISK_NEEDED),
        ("temporary files", Path(tempfile.gettempdir()), DISK_NEEDED),
    ]
    if Path("/dev/shm").is_dir():
        locations.append(("shared memory", Path("/dev/shm"), SHM_NEEDED))
    for name, folder, needed in locations:
        free = shutil.disk_usage(folder).free
        text = f"{free / 2**30:.1f} GiB free in {folder}"
        fix = "" if free >= needed else f"make {needed / 2**30:.2g} GiB free (in a container: --shm-size)"
        yield Check(name, "note" if fix else "ok", text, fix)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _print(report: list[Check], ready: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    colours = {"ok": "green", "note": "yellow", "missing": "red"}
    table = Table.grid(padding=(0, 2))
    for check in report:
        state = f"[{colours[check.status]}]{check.status}[/]"
        table.add_row(state, check.name, escape(check.found))
        if check.fix:
            table.add_row("", "", f"[bold]fix:[/] {escape(check.fix)}")
    console = Console(highlight=False)
    console.print(table)
    missing = ", ".join(check.name for check in report if check.status == "missing")
    console.print("Nothing required is missing." if ready else f"It cannot run yet. Missing: {missing}.")
