"""Voxel grids: integer keys, and the mean of points and colours in each cell."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BITS = 21
_OFFSET = 1 << (_BITS - 1)


def voxel_keys(points: NDArray[Any], voxel: float) -> NDArray[np.int64]:
    """The cell of each point (N, 3) as one integer; cells are anchored at the frame's origin.

    Keys are unique within +- 2^20 cells of the origin (52 km at 5 cm); finite points are the caller's duty.
    """
    cells = np.floor(np.asarray(points, np.float64) / voxel).astype(np.int64) + _OFFSET
    return np.asarray((cells[:, 0] << (2 * _BITS)) | (cells[:, 1] << _BITS) | cells[:, 2])


def sum_by_key(
    keys: NDArray[np.int64], values: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Unique keys (M,), ascending, and the sums (M, C) of the rows of `values` (N, C) under each."""
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    starts = (
        np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1]]) if len(keys) else np.empty(0, int)
    )
    if len(starts) == 0:
        return keys[:0], np.zeros((0, values.shape[1]))
    return sorted_keys[starts], np.add.reduceat(values[order].astype(np.float64), starts, axis=0)


def voxel_downsample(
    points: NDArray[np.float32], colors: NDArray[np.uint8] | None, voxel: float
) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
    """Mean point (M, 3) and mean colour (M, 3) of each occupied voxel, in the order of the voxels' keys."""
    columns: list[NDArray[Any]] = [np.ones((len(points), 1)), points]
    if colors is not None:
        columns.append(colors)
    _, sums = sum_by_key(voxel_keys(points, voxel), np.concatenate(columns, axis=1, dtype=np.float64))
    means = sums[:, 1:] / sums[:, :1]
    return (
        means[:, :3].astype(np.float32),
        None if colors is None else np.rint(means[:, 3:]).astype(np.uint8),
    )
