"""A pair of known size for benchmarks: an image of a wavy wall with depth, and the wall's cloud."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.voxels import voxel_means
from diff2i2p_core.models.config import ModelConfig
from diff2i2p_core.pairs.pair import Pair, make_pair

CAMERA = Camera(640, 480, 585.0, 585.0, 320.0, 240.0)


def wall_depth(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Depth of the wall in metres, 1.5 to 3.5, along the rays through pixels (u, v) of `CAMERA`."""
    return 2.5 + np.sin(u / 90) * np.cos(v / 70)


def wall_cloud(count: int, voxel: float) -> NDArray[np.float32]:
    """`count` points of the wall at `voxel` metres: those nearest to the centre of the view."""
    rng = np.random.default_rng(0)
    half_width = 200.0
    while True:
        half_width *= 1.25
        size = np.array([half_width, 0.75 * half_width])
        middle = np.array([CAMERA.cx, CAMERA.cy])
        samples = int(8 * (2 * half_width * 3.5 / CAMERA.fx / voxel) ** 2)
        u, v = (middle + size * rng.uniform(-1, 1, (samples, 2))).T
        z = wall_depth(u, v) + rng.normal(0, 0.4 * voxel, samples)  # as thick as in fused depth images
        points = np.stack([(u - CAMERA.cx) / CAMERA.fx * z, (v - CAMERA.cy) / CAMERA.fy * z, z], axis=-1)
        cloud = voxel_means(points.astype(np.float32), voxel)
        if len(cloud) >= count:
            rays = np.abs(cloud[:, :2] / cloud[:, 2:]) * [0.75, 1]
            return cloud[np.sort(np.argsort(rays.max(1), kind="stable")[:count])]


def wall_picture() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The view of `CAMERA`: RGB image and depth in metres."""
    v, u = np.indices((CAMERA.height, CAMERA.width)).astype(float)
    waves = np.stack([np.sin(u / 13), np.sin(v / 17), np.sin((u + v) / 29)], axis=-1)
    noise = np.random.default_rng(1).normal(0, 10, waves.shape)
    return np.clip(128 + 80 * waves + noise, 0, 255).astype(np.uint8), wall_depth(u, v).astype(np.float32)


def wall_colors(cloud: NDArray[np.float32]) -> NDArray[np.uint8]:
    colors: NDArray[np.uint8] = np.clip(128 + 80 * np.sin(20 * cloud), 0, 255).astype(np.uint8)
    return colors


def wall_pair(config: ModelConfig, count: int) -> Pair:
    """The pair as network inputs: a cloud of `count` points, seen from the image's position."""
    image, depth = wall_picture()
    cloud = wall_cloud(count, config.points.voxel)
    pair = make_pair(
        image, depth, CAMERA, PointCloud(cloud, wall_colors(cloud)), np.eye(4), config, index=0, name="wall"
    )
    assert pair is not None
    return pair
