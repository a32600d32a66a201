"""Trajectories in the TUM format: one line `stamp tx ty tz qx qy qz qw` per pose, `#` for comments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import from_quaternion, to_quaternion
from diff2i2p_core.io.files import write_text
from diff2i2p_core.typing import Array


def write_trajectory(
    path: Path | str,
    stamps: Sequence[float],
    poses: Sequence[Array],
    frame: str = "map",
    body: str = "camera",
) -> None:
    """Write poses (4, 4) `frame`_from_`body` with stamps in seconds. The frame of `camera` is optical."""
    optical = ", optical frame" if body == "camera" else ""
    lines = [f"# stamp tx ty tz qx qy qz qw: {frame}_from_{body}, metres{optical}"]
    for stamp, pose in zip(stamps, poses, strict=True):
        values = [*pose[:3, 3], *to_quaternion(pose)]
        lines.append(f"{stamp:.9f} " + " ".join(f"{value:.9f}" for value in values))
    write_text(path, "\n".join(lines) + "\n")


def read_trajectory(path: Path | str) -> tuple[list[float], list[Array]]:
    """Stamps in seconds and poses (4, 4) of a TUM file, in the file's order."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a TUM trajectory ({error}); give a text file") from None
    stamps, poses = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            stamp, *values = (float(word) for word in line.split())
        except ValueError:
            values = []
        if len(values) != 7 or not np.isfinite(values).all() or not 0.9 < np.linalg.norm(values[3:]) < 1.1:
            raise InputError(
                f"{path}, line {number}: not `stamp tx ty tz qx qy qz qw` with a unit quaternion; fix it"
            )
        stamps.append(stamp)
        poses.append(from_quaternion(values[:3], values[3:]))
    if not poses:
        raise InputError(f"{path}: holds no pose; give a TUM trajectory")
    return stamps, poses
