"""The extent of a map: a cheap test of whether a camera can be at a position."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.voxels import voxel_keys

NEAR = 5.0
"""Metres within which there must be some map. Because of the grid, positions up to twice as far can pass."""

_AROUND = np.stack(np.meshgrid(*[np.array([-NEAR, 0.0, NEAR])] * 3), axis=-1).reshape(-1, 3)


class MapExtent:
    """The bounding box of a map's points and views, and the coarse cells that contain any of them."""

    def __init__(self, points: NDArray[np.float32], map_from_view: NDArray[np.float64]) -> None:
        """From points (N, 3) and the poses (V, 4, 4) of views of the map."""
        views = map_from_view[:, :3, 3]
        self._low = np.minimum(points.min(axis=0), views.min(axis=0))
        self._high = np.maximum(points.max(axis=0), views.max(axis=0))
        keys = np.concatenate([voxel_keys(points, NEAR), voxel_keys(views, NEAR)])
        self._cells = frozenset(np.unique(keys).tolist())

    def rejection(self, position: NDArray[np.float64], margin: float) -> str:
        """Why a camera cannot be at `position` (3,), or "" if it can. `margin` around the box in metres."""
        beyond = float(np.maximum(self._low - position, position - self._high).max())
        if beyond > margin:
            return f"outside the map ({beyond:.1f} m beyond its box, at most {margin:g})"
        middle = (np.floor(position / NEAR) + 0.5) * NEAR  # of its cell: sums round at the edges
        if self._cells.isdisjoint(voxel_keys(middle + _AROUND, NEAR).tolist()):
            return f"outside the map (nothing of it within {NEAR:g} m)"
        return ""
