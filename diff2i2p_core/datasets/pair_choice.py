"""Chooses images and clouds that make pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from diff2i2p_core.datasets.fuse import Names
from diff2i2p_core.datasets.overlap import depth_samples, overlap
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import MAX_DEPTH
from diff2i2p_core.geometry.se3 import invert, transform_points
from diff2i2p_core.io.image_files import read_depth
from diff2i2p_core.pairs.metadata import Entry, Layout, file_id
from diff2i2p_core.typing import Array


@dataclass(frozen=True)
class Placed:
    """The files of a window, and the poses of its image and its cloud."""

    names: Names
    world_from_camera: Array
    world_from_cloud: Array


@dataclass(frozen=True)
class Group:
    """The windows of one recording in one subset. Pairs are made only within a group."""

    scene: str
    layout: Layout
    camera: Camera
    windows: tuple[Placed, ...]
    max_depth: float = MAX_DEPTH
    """Depth beyond this many metres counts as unknown."""


def pairs_of(
    group: Group, clouds: Sequence[int], folder: Path, radius: float, min_overlap: float
) -> list[Entry]:
    """Pairs of the group's clouds with indices `clouds` and all images, except those from the same frames.

    `radius` in metres. Files are below `folder`.
    """
    images = _images(
        folder, tuple(placed.names.depth for placed in group.windows), group.camera, group.max_depth
    )
    # Bounding boxes of each image's and the cloud's points in the world: only those that meet can overlap.
    boxes = np.stack(
        [_box(transform_points(w.world_from_camera, s)) for w, s in zip(group.windows, images, strict=True)]
    )
    entries = []
    for index in clouds:
        cloud = group.windows[index]
        points = np.load(folder / cloud.names.cloud, allow_pickle=False)
        low, high = _box(transform_points(cloud.world_from_cloud, points))
        meet = (boxes[:, 0] <= high + radius).all(1) & (boxes[:, 1] >= low - radius).all(1)
        tree = cKDTree(points)
        for other in np.flatnonzero(meet):
            image = group.windows[other]
            camera_from_cloud = invert(image.world_from_camera) @ cloud.world_from_cloud
            fraction = overlap(images[other], tree, camera_from_cloud, radius, min_overlap)
            if other != index and fraction >= min_overlap:
                entries.append(_entry(group, image.names, cloud.names, fraction, camera_from_cloud))
    return entries


def chunks(group: Group, size: int = 16) -> Iterator[range]:
    """The indices of the group's clouds, split into one part per call."""
    count = len(group.windows)
    return (range(first, min(first + size, count)) for first in range(0, count, size))


def _entry(group: Group, image: Names, cloud: Names, fraction: float, camera_from_cloud: Array) -> Entry:
    return Entry(
        scene=group.scene,
        image_file=image.image,
        depth_file=image.depth,
        cloud_file=cloud.cloud,
        overlap=fraction,
        camera_from_cloud=camera_from_cloud,
        image_id=file_id(image.image, group.layout),
        cloud_id=file_id(cloud.cloud, group.layout),
    )


def _box(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minimum and maximum coordinates (2, 3) of points (N, 3); an empty box if there are none."""
    if len(points) == 0:
        return np.array([[np.inf] * 3, [-np.inf] * 3])
    return np.stack([points.min(0), points.max(0)])


@lru_cache(maxsize=1)
def _images(
    folder: Path, depths: tuple[str, ...], camera: Camera, max_depth: float
) -> list[NDArray[np.float32]]:
    """Samples of all depth images of a group, cached because each of its chunks needs them."""
    return [depth_samples(read_depth(folder / name, max_depth), camera, max_depth) for name in depths]
