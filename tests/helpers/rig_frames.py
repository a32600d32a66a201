"""A folder of posed frames of two cameras on one body, whose images show their number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from replay_room import CAMERA, true_pose

from diff2i2p_core.geometry.se3 import exp, invert
from diff2i2p_core.io.image_files import write_image
from diff2i2p_core.io.rgbd_folder import write_matrix
from diff2i2p_core.typing import Array

FRONT, LEFT = exp([0, 0.1, 0, 0.2, 0, 0]), exp([0, 0.3, 0, 1.0, 0, 0])


def write_camera(folder: Path, mounting: Array, first: int, numbers: range) -> None:
    """Frame n shows the number `first` + n, and is where `true_pose` of that number is."""
    write_matrix(folder / "camera-intrinsics.txt", CAMERA.matrix)
    write_matrix(folder / "body_from_camera.txt", mounting)
    for n in numbers:
        name = folder / f"frame-{n:06d}"
        write_image(name.with_suffix(".color.png"), np.full((48, 64, 3), first + n, np.uint8))
        write_image(name.with_suffix(".depth.png"), np.full((48, 64), 2000, np.uint16))
        write_matrix(name.with_suffix(".pose.txt"), true_pose(first + n))


def write_rig(folder: Path) -> Path:
    """Eight moments; the left camera is on the body where `true_pose` has it 4 images later."""
    to_later = invert(true_pose(0)) @ true_pose(4)
    write_camera(folder / "front", FRONT, 0, range(8))
    write_camera(folder / "left", FRONT @ to_later, 4, range(2, 8))
    return folder
