"""What a cloud file says, before it is checked and scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.io.chunks import chunks
from diff2i2p_core.io.point_attributes import Columns, by_plain_name, colors_of, intensity_of
from diff2i2p_core.typing import Array

FAR = 1000.0
"""Metres. Doubles beyond this are stored relative to a base nearby, because float32 would be too coarse."""
_SAMPLES = 100_000


@dataclass(frozen=True)
class RawCloud:
    """What a reader returns."""

    points: NDArray[np.float32]
    """(N, 3) relative to `base`."""
    colors: NDArray[Any] | None = None
    """(N, 3) RGB in any scale that `to_uint8` knows."""
    intensity: NDArray[Any] | None = None
    """(N,) in any unit."""
    base: Array = field(default_factory=lambda: np.zeros(3))
    """(3,) the file's coordinates of the points' zero."""
    scanners: Array = field(default_factory=lambda: np.empty((0, 3)))
    """(S, 3) the file's coordinates of where the scanner stood, if it says so."""
    notes: Sequence[str] = ()
    """What the user should know about the reading."""


def middle(points: NDArray[Any]) -> Array:
    """(3,) the median of the finite points among (N, 3), which a few far ones do not move; else zero."""
    some = np.asarray(points[:: max(1, len(points) // _SAMPLES)], np.float64)
    some = some[np.isfinite(some).all(axis=1)]
    return np.asarray(np.median(some, axis=0)) if len(some) else np.zeros(3)


def base_of(points: NDArray[Any]) -> Array:
    """(3,) whole metres near points (N, 3): what is subtracted before they become float32."""
    near = np.rint(middle(points))
    is_single = points.dtype.kind == "f" and points.dtype.itemsize <= 4
    return near if np.abs(near).max() > FAR and not is_single else np.zeros(3)


def relative(xyz: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float32], Array]:
    """The points (N, 3) of three columns (N,), and their base (3,). No column is copied as a whole."""
    count = len(xyz[0])
    step = max(1, count // _SAMPLES)
    base = base_of(np.stack([column[::step] for column in xyz], axis=1))
    points = np.empty((count, 3), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # too large for float32: infinite, and left out later
        for axis, column in enumerate(xyz):
            for rows in chunks(count):
                points[rows, axis] = column[rows] - base[axis] if base.any() else column[rows]
    return points, base


def from_columns(columns: Columns, path: Path) -> RawCloud:
    """The cloud of named columns. InputError if it has no x, y, z."""
    names = by_plain_name(columns)
    if not all(axis in names and columns[names[axis]].ndim == 1 for axis in "xyz"):
        listed = ", ".join(columns)
        raise InputError(f"{path}: its points have no x, y, z (only {listed}); give a point cloud")
    points, base = relative([columns[names[axis]] for axis in "xyz"])
    colors, about_colors = colors_of(columns)
    intensity, about_intensity = intensity_of(columns)
    return RawCloud(points, colors, intensity, base, notes=[w for w in (about_colors, about_intensity) if w])
