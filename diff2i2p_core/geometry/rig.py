"""Several cameras on one body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import is_rigid
from diff2i2p_core.typing import Array


@dataclass(frozen=True)
class RigCamera:
    """A camera mounted on a body."""

    name: str
    camera: Camera
    body_from_camera: Array = field(default_factory=lambda: np.eye(4))
    """(4, 4) pose of the camera's optical frame on the body."""

    def __post_init__(self) -> None:
        if not is_rigid(self.body_from_camera):
            raise InputError(f"camera '{self.name}': body_from_camera is not a finite rigid transform")


def check_rig(cameras: Sequence[RigCamera]) -> None:
    """InputError unless there are cameras with different names."""
    names = [camera.name for camera in cameras]
    if not names:
        raise InputError("cameras: there is none; give one or more")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"cameras: two are called '{twice[0]}'; give each a name of its own")
