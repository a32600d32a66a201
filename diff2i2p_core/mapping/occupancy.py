"""Occupied cells of space: floors to stand on, and lines of sight."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from diff2i2p_core.geometry.voxels import sum_by_key, voxel_keys
from diff2i2p_core.typing import Array

CELL = 0.2
"""Metres."""
HEADROOM = 1.4
"""Minimum metres above a floor."""
_STEP = 0.75 * CELL


class Occupancy:
    """The cells of `CELL` metres that contain points (N, 3), z up. Memory grows with the surface."""

    def __init__(self, points: Array) -> None:
        values = np.concatenate([points, np.ones((len(points), 1))], axis=1)
        self._keys, sums = sum_by_key(voxel_keys(points, CELL), values)
        self.middles: Array = sums[:, :3] / sums[:, 3:]
        """(M, 3) mean point of each cell."""

    def holds(self, positions: Array) -> NDArray[np.bool_]:
        """Whether the cells of positions (N, 3) contain points."""
        wanted = voxel_keys(positions, CELL)
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return np.asarray(self._keys[at] == wanted)

    def floors(self) -> Array:
        """Points (F, 3), one per cell, that one can stand on.

        They have headroom, several similar points beside them, and no floor nearby that is lower by the
        height of a table or cabinet. If a cloud has no such points, the lowest points are returned.
        """
        # The last bits of a key are z, so the next key in the same column is the next cell above.
        above = np.append(np.diff(self._keys), np.iinfo(np.int64).max)
        candidates = self.middles[above > round(HEADROOM / CELL)]
        tree = cKDTree(candidates)
        if len(candidates) >= _BESIDE:
            distance, _ = tree.query(candidates, k=_BESIDE, distance_upper_bound=2.6 * CELL)
            flat = np.isfinite(distance[:, -1])
            scale = np.array([1, 1, 1.5 / 0.8])  # 1.5 m around, from 0.3 to 1.9 m below
            lower, _ = cKDTree(candidates[flat] * scale).query(
                (candidates - [0, 0, 1.1]) * scale, distance_upper_bound=1.5
            )
            if (floors := flat & np.isinf(lower)).any():
                return np.asarray(candidates[floors])
        columns = self._keys >> 21
        return np.asarray(self.middles[np.append(True, columns[1:] != columns[:-1])])

    def sight(self, starts: Array, directions: Array, limit: float) -> Array:
        """Metres (R,) along unit rays from starts (R, 3) to the first cell with points, at most `limit`."""
        lengths = np.full(len(starts), limit)
        going = np.arange(len(starts))
        for step in range(1, int(limit / _STEP) + 1):
            hit = self.holds(starts[going] + step * _STEP * directions[going])
            lengths[going[hit]] = step * _STEP
            going = going[~hit]
            if len(going) == 0:
                break
        return lengths


_BESIDE = 7
"""Minimum number of floor cells, including itself, in a circle of 20."""
