"""A cloud sorted into blocks of a few metres, so that a view only needs the blocks in its frustum."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import ATTRIBUTES, PointCloud
from diff2i2p_core.geometry.se3 import invert, transform_points
from diff2i2p_core.geometry.submaps import SubmapSettings, cut_submap
from diff2i2p_core.geometry.voxels import voxel_keys

BLOCK = 2.0
"""Metres."""
_FLAT = 0.08
"""Metres. Most surfaces are flat within this distance of a point."""
BLOCK_ARRAYS = ("keys", "starts", "lows", "highs")
"""Fields of `BlockCloud` other than the cloud."""


Sample = tuple[cKDTree, NDArray[np.float32]]
"""The points of a block, and some of them (N, 3)."""


@dataclass(frozen=True)
class BlockCloud:
    """A cloud whose points are grouped by block, with blocks in the order of their keys."""

    cloud: PointCloud
    """In the map frame."""
    keys: NDArray[np.int64]
    """(B,) ascending keys from `voxel_keys` with cells of `BLOCK`."""
    starts: NDArray[np.int64]
    """(B + 1,) first rows of the blocks' points, and the end."""
    lows: NDArray[np.float32]
    """(B, 3) minimum coordinates of each block's points."""
    highs: NDArray[np.float32]

    @classmethod
    def of(cls, cloud: PointCloud) -> BlockCloud:
        """Sort a non-empty cloud, keeping the order within a block. A sorted cloud is not copied."""
        keys = voxel_keys(cloud.points, BLOCK)
        if (keys[1:] < keys[:-1]).any():
            order = np.argsort(keys, kind="stable")
            keys, cloud = keys[order], cloud.take(order)
        firsts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
        return cls(
            cloud,
            keys[firsts],
            np.r_[firsts, len(cloud)].astype(np.int64),
            np.minimum.reduceat(cloud.points, firsts, axis=0),
            np.maximum.reduceat(cloud.points, firsts, axis=0),
        )

    def spacing(self) -> float:
        """Typical distance in metres between neighbouring points on a surface.

        On a square grid of spacing s, the fourth neighbour is at s; for random points it is at 1.1 s. The
        third quartile of blocks all over the cloud is used, so that sparse parts are drawn without holes.
        """
        return _spacing(self._samples())

    def spacing_and_noise(self) -> tuple[float, float]:
        """`spacing`, and the standard deviation in metres of points from their surface.

        Curved surfaces and edges deviate as well, so the flattest tenth of places counts.
        """
        samples = list(self._samples())
        spacing = _spacing(samples)
        radius, deviations = max(_FLAT, 2.5 * spacing), []
        for tree, some in samples:
            for near in tree.query_ball_point(some, radius):
                if len(near) >= 8:
                    variances = np.linalg.eigvalsh(np.cov(tree.data[near].T))
                    deviations.append(math.sqrt(max(variances[0], 0.0)))
        return spacing, float(np.quantile(deviations, 0.1)) if deviations else 0.0

    def _samples(self) -> Iterator[Sample]:
        """Blocks all over the cloud, and some of the points of each."""
        rng = np.random.default_rng(0)
        rows = rng.integers(0, len(self.cloud), 40)
        for block in np.unique(np.searchsorted(self.starts, rows, side="right") - 1):
            points = self.cloud.points[self.starts[block] : self.starts[block + 1]]
            if len(points) > 4:
                yield cKDTree(points), points[rng.integers(0, len(points), 50)]

    def save(self, folder: Path) -> None:
        save_arrays(folder, self.cloud)
        for name in BLOCK_ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def open(cls, folder: Path) -> BlockCloud:
        """Open a saved cloud, memory-mapped. Processes that open the same folder share its pages."""
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in BLOCK_ARRAYS}
        return cls(open_arrays(folder), **arrays)

    def cut(self, view_from_map: ArrayLike, settings: SubmapSettings) -> PointCloud:
        """The same result as `cut_submap` for the whole cloud, from only the blocks in the view."""
        view = np.asarray(view_from_map, np.float64)
        depths = settings.min_depth, settings.max_depth
        blocks = self.in_view(view, settings.camera(), depths, settings.margin)
        return cut_submap(self._rows(blocks), view, settings)

    def seen(self, view_from_map: ArrayLike, camera: Camera, depths: tuple[float, float]) -> PointCloud:
        """The points of all blocks that intersect a camera's frustum between two depths in metres."""
        return self._rows(self.in_view(np.asarray(view_from_map, np.float64), camera, depths))

    def around(self, center: ArrayLike, radius: float) -> PointCloud:
        """The points of all blocks that are within `radius` metres of a position (3,)."""
        middle = np.asarray(center, np.float64)
        low, high = np.floor((middle - radius) / BLOCK), np.floor((middle + radius) / BLOCK)
        blocks = self._existing(low, high)
        nearest = np.clip(middle, self.lows[blocks], self.highs[blocks])
        blocks = blocks[np.linalg.norm(nearest - middle, axis=1) <= radius]
        return self._rows(blocks)

    def in_view(
        self,
        view_from_map: NDArray[np.float64],
        camera: Camera,
        depths: tuple[float, float],
        margin: float = 0.0,
    ) -> NDArray[np.int64]:
        """Indices, ascending, of blocks that may intersect a frustum between two depths in metres.

        `margin` is the fraction of the image's size by which the frustum is wider on each side.
        """
        half_width, half_height = _half_sizes(camera, margin)
        corners = transform_points(invert(view_from_map), _frustum(half_width, half_height, depths[1]))
        low, high = np.floor(corners.min(axis=0) / BLOCK), np.floor(corners.max(axis=0) / BLOCK)
        blocks = self._existing(low, high)
        half_sides = (self.highs[blocks] - self.lows[blocks]).astype(np.float64) / 2
        middles = transform_points(view_from_map, self.lows[blocks] + half_sides)
        inside = np.ones(len(blocks), bool)
        for plane in _planes(half_width, half_height, depths):
            reach = half_sides @ np.abs(plane[:3] @ view_from_map[:3, :3]) + 1e-3
            inside &= middles @ plane[:3] + plane[3] < reach
        return np.sort(blocks[inside])

    def _existing(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.int64]:
        """The non-empty blocks between two cells (3,), inclusive; all blocks if there are more cells."""
        if np.prod(high - low + 1) > len(self.keys):
            return np.arange(len(self.keys))
        cells = product(*(np.arange(a, b + 1) for a, b in zip(low, high, strict=True)))
        wanted = voxel_keys((np.array(list(cells)) + 0.5) * BLOCK, BLOCK)
        at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.sort(at[self.keys[at] == wanted])

    def _rows(self, blocks: NDArray[np.int64]) -> PointCloud:
        parts = [self.cloud.take(slice(self.starts[block], self.starts[block + 1])) for block in blocks]
        return PointCloud.joined(parts) if parts else self.cloud.take(slice(0))


def _spacing(samples: Iterable[Sample]) -> float:
    distances = [tree.query(some, k=5)[0][:, 4] for tree, some in samples]
    return float(np.quantile(np.concatenate(distances), 0.75)) if distances else BLOCK


def save_arrays(folder: Path, cloud: PointCloud) -> None:
    """Write a cloud as one file per array, for memory mapping."""
    for name in ("points", *cloud.attributes):
        np.save(folder / f"{name}.npy", getattr(cloud, name))


def open_arrays(folder: Path) -> PointCloud:
    """Open a cloud written by `save_arrays`, memory-mapped."""
    paths = {name: folder / f"{name}.npy" for name in ("points", *ATTRIBUTES)}
    return PointCloud(**{name: np.load(p, mmap_mode="r") for name, p in paths.items() if p.is_file()})


def _half_sizes(camera: Camera, margin: float) -> tuple[float, float]:
    """Half the width and height of the frustum at 1 m, plus 8 pixels, which is a cell of the z-buffer."""
    x = max(camera.cx + 0.5, camera.width - 0.5 - camera.cx) + margin * camera.width + 8
    y = max(camera.cy + 0.5, camera.height - 0.5 - camera.cy) + margin * camera.height + 8
    return x / camera.fx, y / camera.fy


def _planes(half_width: float, half_height: float, depths: tuple[float, float]) -> NDArray[np.float64]:
    """(6, 4) normals that point out of the frustum, and offsets: a point is inside if all are negative."""
    sides = [(x, 0, -half_width, 0) for x in (-1, 1)] + [(0, y, -half_height, 0) for y in (-1, 1)]
    return np.array([*sides, (0, 0, -1, depths[0]), (0, 0, 1, -depths[1])], np.float64)


def _frustum(half_width: float, half_height: float, far: float) -> NDArray[np.float64]:
    """(5, 3) the view's centre and the far corners of its frustum, in the optical frame."""
    ends = [(x * half_width, y * half_height, 1) for x in (-1, 1) for y in (-1, 1)]
    return np.concatenate([np.zeros((1, 3)), far * np.array(ends)])
