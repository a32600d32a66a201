"""Recordings of several cameras on one body: a folder with a posed RGB-D folder for each of them.

Each camera's folder also holds `body_from_camera.txt`, the 4x4 pose of its optical frame on the body. Frames
of the same number were taken together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.rig import RigCamera
from diff2i2p_core.geometry.se3 import invert, rotation_error_deg, translation_error
from diff2i2p_core.io.rgbd_folder import Frame, PosedFrames, read_matrix
from diff2i2p_core.typing import Array

MOUNTING = "body_from_camera.txt"
"""The file that makes a posed RGB-D folder that of a camera on a body."""

Seen = tuple[RigCamera, Frame, NDArray[np.float32]]
"""A camera, its frame, and the depth (H, W) registered to the image, in metres."""

APART_METRES, APART_DEGREES = 0.05, 2.0
"""Larger differences between poses and mountings are noted."""


@dataclass(frozen=True)
class _Mounted:
    frames: PosedFrames
    body_from_camera: Array
    index_of: dict[int, int]


class PosedRig:
    """The cameras of a body, by the names of their folders. Frames are read on demand."""

    def __init__(self, folder: Path | str, note: Callable[[str], None] = lambda line: None) -> None:
        """`note` gets lines about what is left out or doubtful. InputError if a camera lacks a part."""
        self.folder = Path(folder)
        self._cameras: dict[str, _Mounted] = {}
        for path in sorted(self.folder.glob("*/*.pose.txt")):
            if path.parent.name not in self._cameras:
                self._cameras[path.parent.name] = self._mounted(path.parent, note)
        if not self._cameras:
            raise InputError(f"{folder}: holds no posed RGB-D folder of a camera with {MOUNTING}")
        self.numbers = sorted({number for each in self._cameras.values() for number in each.index_of})
        for line in self._doubts():
            note(line)

    @property
    def names(self) -> list[str]:
        """Of the cameras."""
        return list(self._cameras)

    def moment(self, number: int) -> list[Seen]:
        """The frames of this number."""
        return [self._seen(name, number) for name in self._names_at(number)]

    def first(self, number: int) -> Seen:
        """The frame of the first camera that has one of this number; the others are not read."""
        return self._seen(self._names_at(number)[0], number)

    def world_from_body(self, number: int) -> Array:
        """(4, 4) by the pose of the first camera that has a frame of this number."""
        return self._body_by(self._names_at(number)[0], number)

    def _names_at(self, number: int) -> list[str]:
        return [name for name, each in self._cameras.items() if number in each.index_of]

    def _seen(self, name: str, number: int) -> Seen:
        each = self._cameras[name]
        frame = each.frames[each.index_of[number]]
        mounted = RigCamera(name, each.frames.camera, each.body_from_camera)
        return mounted, frame, each.frames.registered_depth(frame)

    def _mounted(self, folder: Path, note: Callable[[str], None]) -> _Mounted:
        frames = PosedFrames(folder, note)
        fix = "give the pose of the camera's optical frame on the body"
        mounting = read_matrix(folder / MOUNTING, (4, 4), f"each camera of {self.folder} needs it", fix)
        RigCamera(folder.name, frames.camera, mounting)  # refuses a matrix that is not rigid
        return _Mounted(frames, mounting, {number: index for index, number in enumerate(frames.numbers)})

    def _body_by(self, name: str, number: int) -> Array:
        each = self._cameras[name]
        return each.frames.pose(number) @ invert(each.body_from_camera)

    def _doubts(self) -> list[str]:
        """Cameras whose poses and mountings do not agree with those of the first one."""
        first, *others = self._cameras
        known = self._cameras[first].index_of
        lines = []
        for name in others:
            common = [number for number in self._cameras[name].index_of if number in known]
            pairs = [(self._body_by(first, number), self._body_by(name, number)) for number in common]
            metres = float(np.median([translation_error(*pair) for pair in pairs])) if pairs else 0.0
            degrees = float(np.median([rotation_error_deg(*pair) for pair in pairs])) if pairs else 0.0
            if metres > APART_METRES or degrees > APART_DEGREES:
                lines.append(
                    f"{self.folder}: by the poses and {MOUNTING} of {name}, the body is {metres:.2f} m "
                    f"and {degrees:.1f} deg (median) from where those of {first} put it; check both"
                )
        return lines


def is_rig_folder(folder: Path | str) -> bool:
    """Whether the folder holds cameras of a body, and not frames of one camera."""
    return any(Path(folder).glob(f"*/{MOUNTING}")) and not any(Path(folder).glob("*.pose.txt"))
