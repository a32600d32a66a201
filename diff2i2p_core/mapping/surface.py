"""The surface of a map, prepared for registering depth images: points with normals, and a distance field."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import small_gicp
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.voxels import voxel_means
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.typing import Array

COARSE, FINE = 0.1, 0.03
"""Metres between the points that depth is registered to, first and last."""
_NEIGHBORS = 12
_FIELD_CELL = 0.1
_FIELD_CELLS = 8_000_000
_FIELD_MARGIN = 1.0
FAR = 0.5
"""Metres. The distance field does not tell larger distances apart."""


class OrientedCloud:
    """Points (N, 3) with unit normals (N, 3) of either sign, and a search tree."""

    def __init__(self, points: Array) -> None:
        self.points = np.asarray(points, np.float64)
        self.cloud = small_gicp.PointCloud(self.points)
        self.tree = small_gicp.KdTree(self.cloud)
        small_gicp.estimate_normals(self.cloud, self.tree, num_neighbors=_NEIGHBORS)
        self.normals: Array = np.array(self.cloud.normals())[:, :3]

    def nearest(self, points: Array) -> tuple[NDArray[np.int64], Array]:
        """The nearest points' rows (M,) and distances (M,) in metres of points (M, 3)."""
        rows, squared = self.tree.batch_nearest_neighbor_search(points)
        return np.ravel(rows).astype(np.int64), np.sqrt(np.ravel(squared))

    def pull(self, source: small_gicp.PointCloud, pose: Array, steps: Sequence[tuple[float, int]]) -> Array:
        """`pose` (4, 4) of the source, moved by point-to-plane ICP.

        `steps` are maximum distances of matches in metres and numbers of iterations.
        """
        for distance, iterations in steps:
            pose = small_gicp.align(
                self.cloud,
                source,
                self.tree,
                pose,
                registration_type="PLANE_ICP",
                max_correspondence_distance=distance,
                max_iterations=iterations,
            ).T_target_source
        return pose


class DistanceField:
    """Distances to the nearest of points (N, 3), at most `FAR`, on a grid. Large maps get larger cells."""

    def __init__(self, points: NDArray[np.float32]) -> None:
        self._low = points.min(axis=0) - np.float32(_FIELD_MARGIN)
        size = points.max(axis=0) + np.float32(_FIELD_MARGIN) - self._low
        self.cell = np.float32(max(_FIELD_CELL, float(np.prod(size.astype(float)) / _FIELD_CELLS) ** (1 / 3)))
        self._shape = np.ceil(size / self.cell).astype(np.int32) + 1
        empty = np.ones(self._shape, bool)
        empty[tuple(((points - self._low) / self.cell).astype(np.int32).T)] = False
        distances = distance_transform_edt(empty).astype(np.float32) * self.cell
        self._distances = np.minimum(distances, np.float32(FAR)).ravel()

    def at(self, positions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Distances in metres at positions (..., 3). Outside the grid, those at its border."""
        index = ((positions - self._low) / self.cell).astype(np.int32)
        x, y, z = np.moveaxis(np.clip(index, 0, self._shape - 1), -1, 0)
        return np.asarray(self._distances[(x * self._shape[1] + y) * self._shape[2] + z])


class Surface:
    """What depth is compared with. Each part is computed when it is first used."""

    def __init__(self, cloud: PointCloud, spacing: float, viewpoints: Array) -> None:
        """`spacing` is the distance in metres between the cloud's points; `viewpoints` (V, 4, 4) are poses
        from which the map was viewed."""
        self.spacing = spacing
        self.viewpoints = viewpoints
        self._cloud = cloud

    @cached_property
    def blocks(self) -> BlockCloud:
        """All points, for drawing."""
        return BlockCloud.of(PointCloud(self._cloud.points))

    @cached_property
    def fine(self) -> OrientedCloud:
        return OrientedCloud(voxel_means(self._cloud.points, FINE).astype(np.float64))

    @cached_property
    def coarse(self) -> OrientedCloud:
        return OrientedCloud(voxel_means(self._cloud.points, COARSE).astype(np.float64))

    def is_near(self, points: Array, metres: float) -> NDArray[np.bool_]:
        """Which of the points (N, 3) may be within `metres` of the surface: the trees are slow for others."""
        diagonal = np.sqrt(3) * self.field.cell
        return np.asarray(self.field.at(points.astype(np.float32)) <= min(metres + diagonal, FAR))

    @cached_property
    def field(self) -> DistanceField:
        return DistanceField(self._cloud.points)
