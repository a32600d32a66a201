"""Trajectories in the TUM format: one line `stamp tx ty tz qx qy qz qw` per pose, `#` for comments."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import from_quaternion, to_quaternion
from diff2i2p_core.io.files import write_text
from diff2i2p_core.typing import Array

_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""Stamps above the first number are in nanoseconds, microseconds, milliseconds: 1e11 seconds would be three
thousand years. And how many of them are a second."""


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


def read_trajectory(
    path: Path | str, note: Callable[[str], None] = lambda line: None
) -> tuple[list[float], list[Array]]:
    """Stamps in seconds and poses (4, 4) of a TUM file, in the file's order.

    Columns are separated by blanks or commas; a ninth one, such as RTAB-Map's id, is ignored. So is a first
    line of names. Stamps in nano-, micro- and milliseconds since 1970 are recognized. `note` gets a line
    about poses that are left out, because they are NaN or have a quaternion of zeros, as some programs write
    them where they were lost.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a TUM trajectory ({error}); give a text file") from None
    stamps, poses, lost = [], [], 0
    is_first = True
    for number, line in enumerate(lines, start=1):
        words = re.split(r"[,;\s]+", line.strip(" \t,;"))
        names = line.lstrip().startswith("#") or (is_first and not any(map(_is_number, words)))
        if names:
            _check_names(words, f"{path}, line {number}")
        if names or not any(words):
            continue
        is_first = False
        values = _values(words, f"{path}, line {number}")
        if not np.isfinite(values).all() or not any(values[4:]):
            lost += 1
            continue
        if not 0.9 < np.linalg.norm(values[4:]) < 1.1:
            raise _not_tum(f"{path}, line {number}")
        stamps.append(_seconds(values[0]))
        poses.append(from_quaternion(values[1:4], values[4:]))
    if not poses:
        raise InputError(f"{path}: holds no pose; give a TUM trajectory")
    if lost:
        note(
            f"{path}: {lost} of {lost + len(poses)} poses left out, because they are NaN or without rotation"
        )
    return stamps, poses


def _seconds(stamp: float) -> float:
    return next((stamp / unit for limit, unit in _UNITS if abs(stamp) > limit), stamp)


def _values(words: Sequence[str], where: str) -> list[float]:
    """The eight numbers of a line."""
    if len(words) not in (8, 9) or not all(map(_is_number, words)):
        raise _not_tum(where)
    return [float(word) for word in words[:8]]


def _check_names(words: Sequence[str], where: str) -> None:
    """Refuse a header that names w before x, as that of EuRoC's ground truth."""
    names = [word.lower() for word in words if word.strip("#")]
    quaternion = [name for name in names if re.fullmatch(r"q(.*_)?[xyzw]", name)] or names[4:8]
    if len(quaternion) == 4 and re.fullmatch(r"(.*_)?q?w", quaternion[0]):
        raise InputError(
            f"{where}: the quaternion is in another order (qw first); write the poses as "
            "`stamp tx ty tz qx qy qz qw`"
        )


def _not_tum(where: str) -> InputError:
    return InputError(f"{where}: not `stamp tx ty tz qx qy qz qw` with a unit quaternion; fix it")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
