"""A cloud sorted into blocks of a few metres: what a view may see is found without a look at the rest."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import ATTRIBUTES, PointCloud
from diff2i2p_core.geometry.se3 import invert, transform_points
from diff2i2p_core.geometry.submaps import SubmapSettings, cut_submap
from diff2i2p_core.geometry.voxels import voxel_keys

BLOCK = 2.0
"""Metres."""
_FILES = ("keys", "starts", "lows", "highs")


@dataclass(frozen=True)
class BlockCloud:
    """Points of a block lie together; blocks are in the order of their keys."""

    cloud: PointCloud
    """In the map frame."""
    keys: NDArray[np.int64]
    """(B,) ascending, of `voxel_keys` with cells of `BLOCK`."""
    starts: NDArray[np.int64]
    """(B + 1,) rows of the blocks' points."""
    lows: NDArray[np.float32]
    """(B, 3) least coordinates of each block's points."""
    highs: NDArray[np.float32]

    @classmethod
    def of(cls, cloud: PointCloud) -> BlockCloud:
        """Sort a cloud that has points; within a block their order stays. A sorted one is not copied."""
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

    def save(self, folder: Path) -> None:
        save_arrays(folder, self.cloud)
        for name in _FILES:
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def open(cls, folder: Path) -> BlockCloud:
        """Memory-mapped: processes that open the same folder share the pages they use."""
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _FILES}
        return cls(open_arrays(folder), **arrays)

    def cut(self, view_from_map: ArrayLike, settings: SubmapSettings) -> PointCloud:
        """What `cut_submap` gives for the whole cloud, from the blocks in the view alone."""
        view = np.asarray(view_from_map, np.float64)
        return cut_submap(self._rows(self.in_view(view, settings)), view, settings)

    def around(self, center: ArrayLike, radius: float) -> PointCloud:
        """The points of all blocks that reach within `radius` metres of a place (3,)."""
        middle = np.asarray(center, np.float64)
        low, high = np.floor((middle - radius) / BLOCK), np.floor((middle + radius) / BLOCK)
        blocks = self._existing(low, high)
        nearest = np.clip(middle, self.lows[blocks], self.highs[blocks])
        blocks = blocks[np.linalg.norm(nearest - middle, axis=1) <= radius]
        return self._rows(blocks)

    def in_view(self, view_from_map: NDArray[np.float64], settings: SubmapSettings) -> NDArray[np.int64]:
        """Blocks, ascending, that may reach into a view's frustum."""
        camera = settings.camera()
        corners = transform_points(invert(view_from_map), _frustum(camera, settings))
        low, high = np.floor(corners.min(axis=0) / BLOCK), np.floor(corners.max(axis=0) / BLOCK)
        found = self._existing(low, high)
        middles = transform_points(view_from_map, (self.lows[found] + self.highs[found]) / 2.0)
        radii = np.linalg.norm(self.highs[found] - self.lows[found], axis=1) / 2 + 1e-3
        inside = (middles[:, 2] > settings.min_depth - radii) & (middles[:, 2] < settings.max_depth + radii)
        half_width, half_height = _half_sizes(camera, settings)
        for axis, half in ((0, half_width), (1, half_height)):
            # distance to the nearer of the two planes through the view's centre, positive outside
            outside = (np.abs(middles[:, axis]) - half * middles[:, 2]) / np.hypot(1, half)
            inside &= outside < radii
        return np.sort(found[inside])

    def _existing(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.int64]:
        """Blocks that have points, of all between two cells (3,), both included."""
        cells = product(*(np.arange(a, b + 1) for a, b in zip(low, high, strict=True)))
        wanted = voxel_keys((np.array(list(cells)) + 0.5) * BLOCK, BLOCK)
        at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.sort(at[self.keys[at] == wanted])

    def _rows(self, blocks: NDArray[np.int64]) -> PointCloud:
        parts = [self.cloud.take(slice(self.starts[block], self.starts[block + 1])) for block in blocks]
        return PointCloud.joined(parts) if parts else self.cloud.take(slice(0))


def save_arrays(folder: Path, cloud: PointCloud) -> None:
    """A cloud as one file for each of its arrays, to be mapped into memory."""
    for name in ("points", *cloud.attributes):
        np.save(folder / f"{name}.npy", getattr(cloud, name))


def open_arrays(folder: Path) -> PointCloud:
    """What `save_arrays` wrote, memory-mapped."""
    paths = {name: folder / f"{name}.npy" for name in ("points", *ATTRIBUTES)}
    return PointCloud(**{name: np.load(p, mmap_mode="r") for name, p in paths.items() if p.is_file()})


def _half_sizes(camera: Camera, settings: SubmapSettings) -> tuple[float, float]:
    """Half the width and height of the view with its margin at 1 m, and a cell of the z-buffer more."""
    margin = 0.5 + settings.margin
    return (margin * camera.width + 8) / camera.fx, (margin * camera.height + 8) / camera.fy


def _frustum(camera: Camera, settings: SubmapSettings) -> NDArray[np.float64]:
    """(5, 3) the view's centre and the far corners of its frustum, optical frame."""
    width, height = _half_sizes(camera, settings)
    far = settings.max_depth * np.array([(x * width, y * height, 1) for x in (-1, 1) for y in (-1, 1)])
    return np.concatenate([np.zeros((1, 3)), far])
