"""Two cameras on one body: how often, and how well, each of them alone and both together are localized.

python examples/07_several_cameras.py                                   # one room, a few images
python examples/07_several_cameras.py --rooms 20010:20016 --poses 12    # six rooms

The rooms are synthetic ones that nothing was trained on. Three cameras are on the body; each pair of them is
a rig. The camera "up" looks at the ceiling, which is plain: it can be localized nowhere, and must do no harm.

With --disturb, map and robot are as inexact as real ones: the poses of the map's frames drift (1.5 cm, 0.5
degrees), and the calibration (0.3 %, 1 px) and the mountings (3 mm, 0.2 degrees) are a little wrong.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from diff2i2p_core import Camera, Localizer, RigCamera, RigLocalization
from diff2i2p_core.evaluation.summary import consistency
from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.geometry.se3 import exp
from diff2i2p_core.io.rgbd_folder import write_matrix
from diff2i2p_core.rooms.room import Room, camera_path, make_room, room_seeds, write_frames
from diff2i2p_core.typing import Array, Image

CAMERA = Camera(width=320, height=240, fx=262.5, fy=262.5, cx=159.5, cy=119.5)
CAMERAS = {
    "front": RigCamera("front", CAMERA, exp([0, 0, 0, 0, 0, 0.1])),
    "left": RigCamera("left", CAMERA, exp([0, -1.2, 0, -0.1, 0, 0])),
    "up": RigCamera("up", CAMERA, exp([1.5, 0, 0, 0, -0.1, 0])),
}


@dataclass
class Tally:
    """The answers of one rig."""

    results: list[QueryResult] = field(default_factory=list)

    def add(self, answer: RigLocalization, body: Array) -> None:
        pose, covariance = answer.map_from_body, answer.covariance
        number = len(self.results)
        self.results.append(QueryResult(number, 0.0, body, pose, answer.reason, covariance=covariance))

    @property
    def errors(self) -> list[float | None]:
        """In metres; None where there is no pose."""
        return [result.translation_error_m for result in self.results]

    @property
    def localized(self) -> int:
        return sum(error is not None for error in self.errors)

    @property
    def within_sigmas(self) -> str:
        """Percent of the errors within one and two reported standard deviations: position; rotation."""
        found = consistency(self.results)
        parts = [] if found is None else [found.position, found.rotation]
        return "; ".join(f"{100 * p.within_1_sigma:.0f}, {100 * p.within_2_sigma:.0f}" for p in parts)


def disturbed(folder: Path, walk: list[Array], rng: np.random.Generator) -> dict[str, RigCamera]:
    """Let the poses of a folder's frames drift, and return the cameras as they are then said to be."""
    drift = np.cumsum(rng.normal(0, 1, (len(walk), 6)), axis=0)
    drift = (drift - drift.mean(axis=0)) / drift.std(axis=0) * [*[0.0087] * 3, *[0.015] * 3]
    for number, pose in enumerate(walk):
        write_matrix(folder / f"frame-{number:06d}.pose.txt", pose @ exp(drift[number]))
    focal, middle = 262.5 * (1 + rng.normal(0, 0.003)), rng.normal(0, 1, 2)
    said = replace(CAMERA, fx=focal, fy=focal, cx=CAMERA.cx + middle[0], cy=CAMERA.cy + middle[1])
    return {
        name: RigCamera(name, said, mounted.body_from_camera @ exp(rng.normal(0, 0.003, 6)))
        for name, mounted in CAMERAS.items()
    }


def localize_walk(
    room: Room,
    localizer: Localizer,
    walk: list[Array],
    cameras: dict[str, RigCamera],
    tallies: dict[str, Tally],
) -> None:
    """Localize each camera alone and each pair of cameras, at every pose of the body."""
    noise = np.random.default_rng(0)
    for body in walk:
        images: dict[str, Image] = {}
        for name, mounted in CAMERAS.items():
            image, _ = room.render(CAMERA, body @ mounted.body_from_camera)
            images[name] = np.clip(image + noise.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
        for size in (1, 2):
            for names in combinations(CAMERAS, size):
                answer = localizer.localize_rig(
                    [images[name] for name in names], [cameras[name] for name in names]
                )
                tallies[" + ".join(names)].add(answer, body)


def table(tallies: dict[str, Tally]) -> str:
    """Markdown: for each pair, each camera alone, either of them (the better one at each pose), and both."""
    lines = [
        "| rig | localized: first, second, either, rig | false | median error, cm: first, second, "
        "the better one at each pose, rig | errors within 1, 2 sigma, % (position; rotation): first, rig |",
        "|---|---|---|---|---|",
    ]
    for names in combinations(CAMERAS, 2):
        one, two, rig = (tallies[name] for name in (*names, " + ".join(names)))
        better = [
            min((error for error in pair if error is not None), default=None)
            for pair in zip(one.errors, two.errors, strict=True)
        ]
        either = sum(error is not None for error in better)
        rows = (one.errors, two.errors, better, rig.errors)
        # Judged where all have a pose; a camera that never has one is left out.
        columns = [row for row in rows if any(error is not None for error in row)]
        common = [at for at in range(len(better)) if all(row[at] is not None for row in columns)]
        words = [
            f"{100 * np.median([row[at] for at in common]):.2f}" if row in columns and common else "none"
            for row in rows
        ]
        counts = f"{one.localized}, {two.localized}, {either}, {rig.localized} of {len(rig.errors)}"
        false = sum(result.is_false for result in rig.results)
        sigmas = f"{one.within_sigmas} / {rig.within_sigmas}"
        lines.append(f"| {' + '.join(names)} | {counts} | {false} | {', '.join(words)} | {sigmas} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Localize two cameras on one body in synthetic rooms.")
    parser.add_argument("--rooms", default="20003:20004", help="seeds FIRST:END of the rooms")
    parser.add_argument("--poses", type=int, default=3, help="poses of the body in each room")
    parser.add_argument("--matcher", choices=("auto", "views", "network"), default="views")
    parser.add_argument("--disturb", action="store_true", help="an inexact map and calibration")
    args = parser.parse_args()

    tallies: dict[str, Tally] = defaultdict(Tally)
    for seed in room_seeds(args.rooms, "test"):
        room = make_room(seed)
        with tempfile.TemporaryDirectory() as folder:
            walk, cameras = camera_path(room, 60, seed)[::3], CAMERAS
            write_frames(Path(folder), room, CAMERA, walk, seed=seed)
            if args.disturb:
                cameras = disturbed(Path(folder), walk, np.random.default_rng(seed))
            localizer = Localizer.from_frames(folder, matcher=args.matcher)
        walk = camera_path(room, 5 * args.poses, seed + 1)[::5]
        localize_walk(room, localizer, walk, cameras, tallies)
    print(table(tallies))


if __name__ == "__main__":
    main()
