"""Cuts a map at the height of a robot, as seen from above: occupied, free and unknown cells."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.spatial import cKDTree

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.voxels import voxel_means
from diff2i2p_core.io.occupancy_grid import FREE, OCCUPIED, UNKNOWN, OccupancyGrid
from diff2i2p_core.mapping.gravity import find_up
from diff2i2p_core.mapping.map_file import PointMap
from diff2i2p_core.mapping.occupancy import Occupancy
from diff2i2p_core.typing import Array

_RANGE = 10.0
"""Metres that a view sees at most."""
_FLOOR = 0.1
"""Metres by which points of the floor are above or below it."""
_BESIDE, _LOWEST = 0.75, 0.2
"""Metres beside a view in which the floor below it is looked for, and from the view down to it at least."""
_VIEWS = 2.5
"""Metres above the floor below which views are on its storey."""
_MOST_CELLS = 100_000_000
_UPRIGHT = math.cos(math.radians(10))

Mask = NDArray[np.bool_]


def floor_grid(
    point_map: PointMap,
    *,
    band: tuple[float, float] = (0.1, 1.5),
    resolution: float = 0.05,
    floor: float | None = None,
) -> tuple[OccupancyGrid, float]:
    """The grid of one storey of a map with z up, and the height of its floor in the map.

    A cell with points in the `band` of heights above the floor (metres) is occupied. Free are the other cells
    where the floor is seen, and those between a view and the occupied cells around it. The rest is unknown.

    Args:
        floor: height of the floor; None: the floor below most views.

    Raises:
        InputError: nothing is in the band, z is not up, or there would be too many cells.
    """
    rendered = point_map.rendered
    points = (point_map.cloud if rendered is None else rendered.cloud.cloud).points
    low, high = band
    if not low < high or resolution <= 0:
        raise InputError("a grid needs a `band` with its lower limit first, and a positive `resolution`")
    if floor is None:
        _check_upright(points)
        floor = main_floor(points, point_map.viewpoints[:, :3, 3])
    heights = points[:, 2] - floor
    inside = (heights >= low) & (heights <= high)
    if not inside.any():
        raise InputError(
            f"the map has no points {low:g} to {high:g} m above a floor at z = {floor:.2f}; give another "
            "`band` or `floor`"
        )
    flat = points[:, :2].astype(np.float64)
    grounds = np.abs(heights) <= _FLOOR
    frame = _Cells(flat[inside | grounds], resolution)
    occupied = frame.marked(flat[inside])
    views = point_map.viewpoints[:, :3, 3]
    views = views[(views[:, 2] > floor) & (views[:, 2] < floor + _VIEWS)]
    free = frame.marked(flat[grounds]) | frame.seen(occupied, views[:, :2])
    cells = np.full(occupied.shape, UNKNOWN, np.int8)
    cells[free] = FREE
    cells[occupied] = OCCUPIED
    x, y = (float(value) for value in frame.corner)
    return OccupancyGrid(cells, resolution, (x, y)), floor


def main_floor(points: NDArray[np.float32], views: Array) -> float:
    """The height of the floor of a map (N, 3) that is below most views (V, 3), z up.

    A ceiling is a floor, too, as nothing is seen above it: only views tell which one people are on.
    """
    floors = Occupancy(np.asarray(voxel_means(points, _FLOOR), np.float64)).floors()
    beside = cKDTree(floors[:, :2]).query_ball_point(views[:, :2], _BESIDE)
    below = [floors[near, 2] for near in beside]
    below = [heights[heights < view[2] - _LOWEST] for heights, view in zip(below, views, strict=True)]
    under = np.array([heights.max() for heights in below if len(heights)])
    if not len(under):
        raise InputError("no floor is below its views; give `floor`")
    steps = np.round(under / _FLOOR).astype(int)
    level = (int(np.bincount(steps - steps.min()).argmax()) + steps.min()) * _FLOOR
    return float(np.median(floors[np.abs(floors[:, 2] - level) <= _FLOOR, 2]))


def _check_upright(points: NDArray[np.float32]) -> None:
    """It is enough that z is vertical: whether a cloud stands on its head is often unclear."""
    up, words = find_up(points)
    if abs(up[2]) < _UPRIGHT:
        raise InputError(
            f"in the map, up is {words}; Nav2 needs z up: turn the cloud and build the map again, or give "
            "`floor` if z is up"
        )


class _Cells:
    """Cells of `resolution` metres around points (N, 2)."""

    def __init__(self, points: Array, resolution: float) -> None:
        first = np.floor(points.min(axis=0) / resolution).astype(np.int64) - 1
        last = np.floor(points.max(axis=0) / resolution).astype(np.int64) + 1
        columns, rows = (int(size) for size in last - first + 1)
        if rows * columns > _MOST_CELLS:
            raise InputError(f"the grid would have {columns} x {rows} cells; give a larger `resolution`")
        self.corner: Array = first * resolution
        self._first, self._resolution = first, resolution
        self._shape = rows, columns

    def marked(self, points: Array) -> Mask:
        """The cells with points (N, 2)."""
        mask = np.zeros(self._shape, bool)
        columns, rows = self._places(points).T
        mask[rows, columns] = True
        return mask

    def seen(self, occupied: Mask, views: Array) -> Mask:
        """The cells between positions (V, 2) and the first occupied cells around them.

        What is behind an opening through which no occupied cell is seen stays unknown.
        """
        # Without this, rays would slip between two cells of a wall that touch at a corner only.
        blocked = binary_dilation(occupied, np.ones((2, 2)))
        seen = np.zeros(self._shape, bool)
        steps = np.arange(0.0, _RANGE, self._resolution / 2)
        angles = np.arange(0.0, 2 * math.pi, self._resolution / _RANGE)
        directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        rows_of, columns_of = self._shape
        for view in np.unique(self._places(views), axis=0):
            if not ((view >= 0) & (view < (columns_of, rows_of))).all() or blocked[view[1], view[0]]:
                continue
            middle = self.corner + (view + 0.5) * self._resolution
            places = self._places(middle + directions[:, None] * steps[:, None])
            columns, rows = places[..., 0], places[..., 1]
            outside = (columns < 0) | (rows < 0) | (columns >= columns_of) | (rows >= rows_of)
            columns[outside], rows[outside] = 0, 0
            hits = blocked[rows, columns] & ~outside
            first = np.where(hits.any(axis=1), hits.argmax(axis=1), 0)
            before = (np.arange(len(steps)) < first[:, None]) & ~outside
            seen[rows[before], columns[before]] = True
        return seen

    def _places(self, points: Array) -> NDArray[np.int64]:
        """Column and row (..., 2) of positions (..., 2)."""
        return np.asarray(np.floor(points / self._resolution).astype(np.int64) - self._first)
