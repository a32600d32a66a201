"""Two cameras on one body: how often, and how well, each of them alone and both together are localized.

python examples/07_several_cameras.py                                   # one room, a few images
python examples/07_several_cameras.py --rooms 20010:20016 --poses 12    # six rooms

The rooms are synthetic ones that nothing was trained on. Three cameras are on the body; each pair of them is
a rig. The camera "up" looks at the ceiling, which is plain: it can be localized nowhere, and must do no harm.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from diff2i2p_core import Camera, Localizer, RigCamera, RigLocalization
from diff2i2p_core.geometry.se3 import exp, rotation_error_deg, translation_error
from diff2i2p_core.rooms.room import Room, camera_path, make_room, room_seeds, write_frames
from diff2i2p_core.typing import Array, Image

CAMERA = Camera(width=320, height=240, fx=262.5, fy=262.5, cx=159.5, cy=119.5)
CAMERAS = {
    "front": RigCamera("front", CAMERA, exp([0, 0, 0, 0, 0, 0.1])),
    "left": RigCamera("left", CAMERA, exp([0, -1.2, 0, -0.1, 0, 0])),
    "up": RigCamera("up", CAMERA, exp([1.5, 0, 0, 0, -0.1, 0])),
}
FALSE_METRES, FALSE_DEGREES = 0.5, 10.0


@dataclass
class Tally:
    """The answers of one rig; errors in metres, None where there is no pose."""

    errors: list[float | None] = field(default_factory=list)
    false: int = 0

    def add(self, answer: RigLocalization, body: Array) -> None:
        pose = answer.map_from_body
        self.errors.append(None if pose is None else translation_error(pose, body))
        if pose is not None:
            wrong = translation_error(pose, body) > FALSE_METRES
            self.false += wrong or rotation_error_deg(pose, body) > FALSE_DEGREES

    @property
    def localized(self) -> int:
        return sum(error is not None for error in self.errors)


def localize_walk(room: Room, localizer: Localizer, walk: list[Array], tallies: dict[str, Tally]) -> None:
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
                    [images[name] for name in names], [CAMERAS[name] for name in names]
                )
                tallies[" + ".join(names)].add(answer, body)


def table(tallies: dict[str, Tally]) -> str:
    """Markdown: for each pair, each camera alone, either of them (the better one at each pose), and both."""
    lines = [
        "| rig | localized: first, second, either, rig | false | median error, cm: first, second, "
        "the better one at each pose, rig |",
        "|---|---|---|---|",
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
        lines.append(f"| {' + '.join(names)} | {counts} | {rig.false} | {', '.join(words)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Localize two cameras on one body in synthetic rooms.")
    parser.add_argument("--rooms", default="20003:20004", help="seeds FIRST:END of the rooms")
    parser.add_argument("--poses", type=int, default=3, help="poses of the body in each room")
    parser.add_argument("--matcher", choices=("auto", "views", "network"), default="views")
    args = parser.parse_args()

    tallies: dict[str, Tally] = defaultdict(Tally)
    for seed in room_seeds(args.rooms, "test"):
        room = make_room(seed)
        with tempfile.TemporaryDirectory() as folder:
            write_frames(Path(folder), room, CAMERA, camera_path(room, 60, seed)[::3], seed=seed)
            localizer = Localizer.from_frames(folder, matcher=args.matcher)
        walk = camera_path(room, 5 * args.poses, seed + 1)[::5]
        localize_walk(room, localizer, walk, tallies)
    print(table(tallies))


if __name__ == "__main__":
    main()
