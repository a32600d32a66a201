"""Noisy clouds, smoothed: points are moved onto planes through their surroundings.

Normals need it. Noise of 3 cm, as of many lidars, is larger than most of what makes surfaces look different.
Averaging would move edges and close gaps; here, each point is only moved along the normal of a plane. That is
the best of several planes near it, so points beside an edge take one that does not cross the edge (the
principle of Kuwahara's filter).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.voxels import VoxelGroups
from diff2i2p_core.typing import Array, Progress

_CELLS, _FINEST = 5, 0.0125
"""Planes are fitted on a grid of so many cells per radius, but not smaller than this in metres."""
_NEIGHBORS, _ENOUGH = 150, 12
"""Maximum and minimum number of cells of a plane."""
_FULL = 20
"""Points in a cell. More do not count more, so that planes are not drawn to where a scanner stood long."""
_CHOICE, _NEAR = 8, 2.0
"""Each cell takes one of so many planes around it, of those that pass within about so many deviations."""
_AT_ONCE = 1 << 15
_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
_MATRIX = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])


def smoothed(cloud: PointCloud, radius: float, progress: Progress | None = None) -> PointCloud:
    """The cloud with its points moved onto planes that are fitted within `radius` metres.

    Points with too few others around them stay where they are.
    """
    if not len(cloud):
        return cloud
    points, groups = cloud.points, VoxelGroups(cloud.points, max(radius / _CELLS, _FINEST))
    surface = _Surface.of(points, groups, radius, progress)
    moved = np.empty_like(points)
    cells = groups.of_points()
    for first in range(0, len(points), _AT_ONCE):
        rows = slice(first, first + _AT_ONCE)
        moved[rows] = surface.nearest(points[rows].astype(np.float64), cells[rows])
    return replace(cloud, points=moved)


@dataclass(frozen=True)
class _Surface:
    """A plane for each cell (M) of a grid."""

    points: Array
    """(M, 3) on the planes."""
    normals: Array
    """(M, 3) unit vectors; 0 where no plane is known."""

    @classmethod
    def of(
        cls, points: NDArray[np.float32], groups: VoxelGroups, radius: float, progress: Progress | None
    ) -> _Surface:
        moments = _moments(points, groups)
        centers, weights = moments[:, 1:4], np.minimum(groups.counts, _FULL)
        tree = cKDTree(centers)
        fitted, nearest = [], []
        for near, distance in _near(tree, radius):
            fitted.append(_fitted(near, distance, moments, weights, radius))
            nearest.append(near[:, :_CHOICE].copy())
            if progress is not None:
                progress("smoothing", min(len(fitted) * _AT_ONCE, tree.n), tree.n)
        planes = [np.concatenate(parts) for parts in zip(*fitted, strict=True)]
        chosen = np.concatenate([_best(centers, near, *planes) for near in nearest])
        on_plane, normals, _ = planes
        return cls(on_plane[chosen], normals[chosen])

    def nearest(self, points: Array, cells: NDArray[np.int64]) -> Array:
        """The nearest points (N, 3) on the planes of the cells (N,)."""
        normals = self.normals[cells]
        off = np.einsum("ni,ni->n", points - self.points[cells], normals)
        moved: Array = points - off[:, None] * normals
        return moved


def _moments(points: NDArray[np.float32], groups: VoxelGroups) -> Array:
    """(M, 10) of the points of each cell: 1, and the means of x, y, z and of their six products."""
    moments = np.ones((len(groups), 10))
    moments[:, 1:4] = groups.mean(points)
    for column, (a, b) in enumerate(_PAIRS, start=4):
        product = np.multiply(points[:, a], points[:, b], dtype=np.float64)
        moments[:, column] = groups.mean(product[:, None])[:, 0]
    return moments


def _near(tree: cKDTree, radius: float) -> Iterator[tuple[NDArray[np.int64], Array]]:
    """The nearest `_NEIGHBORS` points (n, K) to each point of a tree, and how far they are.

    Beyond the radius, the number of points and inf. In blocks of rows.
    """
    for first in range(0, tree.n, _AT_ONCE):
        distance, near = tree.query(
            tree.data[first : first + _AT_ONCE],
            k=_NEIGHBORS,
            distance_upper_bound=radius,
            workers=torch.get_num_threads(),
        )
        yield near, distance


def _fitted(
    near: NDArray[np.int64], distance: Array, moments: Array, weights: Array, radius: float
) -> tuple[Array, Array, Array]:
    """Planes through cells (n, K) around each of n: points on them, normals, variances across them."""
    there = np.isfinite(distance)
    index = np.where(there, near, 0)
    weight = np.where(there, 1 - (distance / radius) ** 2, 0) * weights[index]
    starts = np.arange(len(near) + 1) * near.shape[1]
    sums = csr_matrix((weight.ravel(), index.ravel(), starts), shape=(len(near), len(moments))) @ moments
    means = sums[:, 1:] / sums[:, :1]
    centers = means[:, :3]
    covariance = means[:, 3:][:, _MATRIX] - centers[:, :, None] * centers[:, None, :]
    values, vectors = np.linalg.eigh(covariance)
    known = there.sum(axis=1) >= _ENOUGH
    variances = np.where(known, np.maximum(values[:, 0], 0), np.inf)
    return centers, vectors[:, :, 0] * known[:, None], variances


def _best(
    centers: Array, near: NDArray[np.int64], on_plane: Array, normals: Array, variances: Array
) -> NDArray[np.int64]:
    """Of the cells `near` (n, K) each of n cells, the first being itself: the one with the plane to take."""
    index = np.where(near < len(centers), near, near[:, :1])
    off = np.einsum("nki,nki->nk", centers[near[:, :1]] - on_plane[index], normals[index])
    best = np.argmin(variances[index] + (off / _NEAR) ** 2, axis=1)
    chosen: NDArray[np.int64] = np.take_along_axis(index, best[:, None], axis=1)[:, 0]
    return chosen
