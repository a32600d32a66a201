"""The interface of sources: recordings, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import is_rigid
from diff2i2p_core.io.rgbd_folder import Frame
from diff2i2p_core.typing import Array

Subset = Literal["train", "val", "test"]
SUBSETS: tuple[Subset, ...] = ("train", "val", "test")


class Recording(Protocol):
    """One uninterrupted recording of a place. It must be small, because it is sent to worker processes.

    A recording with a lidar may also have `scan(index)`: the points (N, 3) of a frame in the camera's frame,
    also outside the image. Clouds are then made of them instead of depth.
    """

    @property
    def scene(self) -> str:
        """Name of the place. Recordings of one place share a world frame."""

    @property
    def sequence(self) -> str:
        """seq-NN, unique in the scene."""

    @property
    def subset(self) -> Subset | None:
        """The subset chosen by the data set's authors; None if they chose none."""

    @property
    def camera(self) -> Camera:
        """The camera of images and depth, without distortion."""

    @property
    def numbers(self) -> Sequence[int]:
        """Numbers of the frames, ascending in time."""

    def world_from_camera(self, index: int) -> Array:
        """(4, 4) pose of the frame at `index` of `numbers`."""

    def frame(self, index: int) -> Frame:
        """The frame at `index` of `numbers`, with depth registered to the image."""


def parse_pose(text: str | bytes, where: object) -> Array:
    """A (4, 4) rigid transform from sixteen numbers. `where` begins the error message."""
    try:
        pose: Array = np.array(text.split(), dtype=np.float64).reshape(4, 4)
    except ValueError:
        pose = np.zeros((4, 4))
    if not is_rigid(pose):
        raise InputError(f"{where}: not a finite rigid 4x4 transform; fix or remove the frame")
    return pose
