"""Which cells of space hold points: floors to stand on, and what can be seen from where."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from diff2i2p_core.geometry.voxels import sum_by_key, voxel_keys
from diff2i2p_core.typing import Array

CELL = 0.2
"""Metres."""
HEADROOM = 1.4
"""Metres over a floor, at least."""
_STEP = 0.75 * CELL


class Occupancy:
    """The cells of `CELL` metres that hold points (N, 3), z up. Memory grows with the surface."""

    def __init__(self, points: Array) -> None:
        values = np.concatenate([points, np.ones((len(points), 1))], axis=1)
        self._keys, sums = sum_by_key(voxel_keys(points, CELL), values)
        self.middles: Array = sums[:, :3] / sums[:, 3:]
        """(M, 3) mean point of each cell."""

    def holds(self, positions: Array) -> NDArray[np.bool_]:
        """Whether the cells of positions (N, 3) hold points."""
        wanted = voxel_keys(positions, CELL)
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return np.asarray(self._keys[at] == wanted)

    def floors(self) -> Array:
        """Points (F, 3), one a cell, that one can stand on.

        They have headroom, a few of their kind beside them, and no floor a table's or a cabinet's height
        below them near by. Of a cloud without such points, the lowest ones.
        """
        # The last bits of a key are z: the next key of the same column is the next cell above.
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
            if (found := flat & np.isinf(lower)).any():
                return np.asarray(candidates[found])
        columns = self._keys >> 21
        return np.asarray(self.middles[np.append(True, columns[1:] != columns[:-1])])

    def sight(self, starts: Array, directions: Array, limit: float) -> Array:
        """Metres (R,) along unit rays from starts (R, 3) to the first cell with points, at most `limit`."""
        found = np.full(len(starts), limit)
        going = np.arange(len(starts))
        for step in range(1, int(limit / _STEP) + 1):
            hit = self.holds(starts[going] + step * _STEP * directions[going])
            found[going[hit]] = step * _STEP
            going = going[~hit]
            if len(going) == 0:
                break
        return found


_BESIDE = 7
"""Floor cells, itself included, in a circle of 20."""
