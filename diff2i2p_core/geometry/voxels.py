"""Voxel grids: integer keys, and sums and means in each cell."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BITS = 21
_OFFSET = 1 << (_BITS - 1)
_SUMMED_AT_ONCE = 1 << 18
"""Number of keys. It limits the size of the copies made of millions of points."""


def voxel_keys(points: NDArray[Any], voxel: float) -> NDArray[np.int64]:
    """The cell of each point (N, 3) as one integer; cells are anchored at the frame's origin.

    Keys are unique within +- 2^20 cells of the origin (52 km at 5 cm). The points must be finite.
    """
    keys = np.zeros(len(points), np.int64)
    for axis in range(3):
        cells = np.floor(points[:, axis].astype(np.float64) / voxel).astype(np.int64) + _OFFSET
        keys |= cells << ((2 - axis) * _BITS)
    return keys


def sum_by_key(
    keys: NDArray[np.int64], values: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Unique keys (M,), ascending, and for each the sum (M, C) of its rows of `values` (N, C)."""
    unique, order, starts = _groups(keys)
    return unique, _sums(order, starts, values)


def voxel_means(points: NDArray[np.float32], spacing: float) -> NDArray[np.float32]:
    """The mean point (M, 3) of each occupied voxel, in the order of the voxels' keys."""
    return VoxelGroups(points, spacing).mean(points).astype(np.float32)


class VoxelGroups:
    """The points (N, 3) of each occupied voxel, in the order of the voxels' keys."""

    def __init__(self, points: NDArray[np.float32], spacing: float) -> None:
        _, self._order, self._starts = _groups(voxel_keys(points, spacing))
        self.counts = np.diff(self._starts, append=len(self._order))
        """(M,) points of each."""

    def __len__(self) -> int:
        return len(self._starts)

    def of_points(self) -> NDArray[np.int64]:
        """(N,) the voxel of each point."""
        voxels = np.empty(len(self._order), np.int64)
        voxels[self._order] = np.repeat(np.arange(len(self)), self.counts)
        return voxels

    def mean(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """(M, C) mean of the rows of `values` (N, C) in each voxel."""
        return _sums(self._order, self._starts, values) / self.counts[:, None]


def _groups(
    keys: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Unique keys (M,), ascending; rows (N,) in the order of their keys; where each key starts in them."""
    order = np.argsort(keys, kind="stable")
    in_order = keys[order]
    starts = np.flatnonzero(np.r_[True, in_order[1:] != in_order[:-1]][: len(keys)])
    return in_order[starts], order, starts


def _sums(order: NDArray[np.int64], starts: NDArray[np.int64], values: NDArray[Any]) -> NDArray[np.float64]:
    """(M, C) sums of the rows of `values` (N, C) from each start to the next, computed in parts."""
    sums = np.empty((len(starts), values.shape[1]))
    for first in range(0, len(starts), _SUMMED_AT_ONCE):
        part = starts[first : first + _SUMMED_AT_ONCE]
        following = starts[first + len(part)] if first + len(part) < len(starts) else len(order)
        rows = values[order[part[0] : following]].astype(np.float64)
        np.add.reduceat(rows, part - part[0], axis=0, out=sums[first : first + len(part)])
    return sums
