"""Compares a depth image with the depth of the map at a pose, both ways.

A right pose predicts the measured depth. Surface of the map in front of the measured depth would hide it, and
measured surface in front of the map's would hide that: both contradict a pose. Where the map has no surface,
nothing is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import invert, transform_points
from diff2i2p_core.localization.depth_view import FARTHEST
from diff2i2p_core.mapping.surface import Surface
from diff2i2p_core.typing import Array

_COLUMNS = 80
"""Cells in a row."""
_NEAREST = 0.2
_FILLED = 0.3
"""Minimum fraction of a cell's pixels with depth."""
_NEAR, _NEAR_SQUARED = 0.05, 0.01
"""Metres, and metres per squared metre of depth: depths that differ by less agree."""
_CLEAR = 2.0
"""Depths contradict each other if they differ by this many times as much."""


@dataclass(frozen=True)
class Comparison:
    """Numbers of cells of a depth image at a pose."""

    agree: int
    contradict: int
    measured: int
    """Cells with depth."""

    @property
    def agreement(self) -> float:
        """The fraction of cells that agree, of those that agree or contradict."""
        return self.agree / max(self.agree + self.contradict, 1)

    @property
    def known(self) -> float:
        """The fraction of the measured cells that agree or contradict: those with map."""
        return (self.agree + self.contradict) / max(self.measured, 1)


class DepthCells:
    """A depth image in cells, each with its nearest and farthest depth."""

    def __init__(self, depth: NDArray[np.float32], camera: Camera) -> None:
        size = max(1, round(camera.width / _COLUMNS))
        rows, columns = camera.height // size, camera.width // size
        whole = depth[: rows * size, : columns * size].reshape(rows, size, columns, size)
        pixels = whole.swapaxes(1, 2).reshape(rows, columns, -1)
        valid = (pixels > 0) & (pixels < FARTHEST)
        self._nearest = np.where(valid, pixels, np.inf).min(axis=2)
        self._farthest = np.where(valid, pixels, 0).max(axis=2)
        self._measured = valid.mean(axis=2) > _FILLED
        self._camera, self._size = camera, size

    def compare(self, surface: Surface, map_from_camera: Array) -> Comparison:
        predicted = self._predicted(surface, map_from_camera)
        known = np.isfinite(predicted) & self._measured
        tolerance = _NEAR + _NEAR_SQUARED * np.square(np.where(self._measured, self._nearest, 0))
        depth = predicted[known]
        outside = np.maximum(self._nearest[known] - depth, depth - self._farthest[known])
        difference = outside / tolerance[known]
        agree, contradict = int((difference < 1).sum()), int((difference > _CLEAR).sum())
        return Comparison(agree, contradict, int(self._measured.sum()))

    def _predicted(self, surface: Surface, map_from_camera: Array) -> NDArray[np.float32]:
        """The nearest depth of the map in each cell; infinite without map."""
        camera_from_map = invert(map_from_camera)
        reach = FARTHEST + 1
        cloud = surface.blocks.seen(camera_from_map, self._camera, (_NEAREST, reach))
        points = transform_points(camera_from_map, cloud.points)
        points = points[(points[:, 2] > _NEAREST) & (points[:, 2] < reach)]
        pixels, z = self._camera.project(points)
        rows, columns = self._measured.shape
        # a border of one cell takes what is drawn beside the image
        column, row = np.floor((pixels + 0.5) / self._size).astype(np.int64).T + 1
        inside = (column >= 0) & (column <= columns + 1) & (row >= 0) & (row <= rows + 1)
        index, z = (row * (columns + 2) + column)[inside], z[inside].astype(np.float32)
        drawn = np.full((rows + 2) * (columns + 2), np.inf, np.float32)
        np.minimum.at(drawn, index, z)
        # near points are farther apart than a cell: each also covers its neighbours
        near = z * self._size < 1.5 * surface.spacing * self._camera.fx
        for step in (-1, 1, -columns - 2, columns + 2):
            beside = np.clip(index[near] + step, 0, len(drawn) - 1)
            np.minimum.at(drawn, beside, z[near] + np.float32(_NEAR / 2))
        return drawn.reshape(rows + 2, columns + 2)[1:-1, 1:-1]
