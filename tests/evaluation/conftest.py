"""A registration whose truth is known by construction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from diff2i2p_core.evaluation.registration import Registration
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import exp, transform_points

CAMERA = Camera(640, 480, 525.0, 525.0, 319.5, 239.5)
Made = Callable[..., Registration]


def _made(
    inliers: int = 60, outliers: int = 20, depthless: int = 0, name: str = "room/1_2", seed: int = 0
) -> Registration:
    """Exact matches first, then ones 0.5 m off, then exact ones of pixels without depth; scores fall in this
    order. 10 coarse pairs were found: 6 overlap by 0.05, 0.15, ..., 0.55, one of these is listed twice."""
    rng = np.random.default_rng(seed)
    count = inliers + outliers + depthless
    camera_from_cloud = exp([0.2, -0.1, 0.05, 0.1, 0.2, -0.3])
    pixels = np.stack([rng.uniform(0, 640, count), rng.uniform(0, 480, count)], 1)
    depth = rng.uniform(1, 4, count)
    rays = np.concatenate([(pixels - [319.5, 239.5]) / 525, np.ones((count, 1))], 1)
    in_camera = rays * depth[:, None]
    moved = rng.normal(size=(count, 3))
    moved *= 0.5 / np.linalg.norm(moved, axis=1, keepdims=True)
    moved[:inliers] = moved[inliers + outliers :] = 0
    points = transform_points(np.linalg.inv(camera_from_cloud), in_camera + moved).astype(np.float32)
    pixel_points = in_camera.astype(np.float32)
    pixel_points[inliers + outliers :] = 0
    true_overlaps = np.linspace(0.05, 0.55, 6)
    return Registration(
        name=name,
        camera=CAMERA,
        camera_from_cloud=camera_from_cloud,
        overlap=0.7,
        voxel=0.025,
        cloud=np.concatenate([points, rng.uniform(-1, 1, (100, 3))]).astype(np.float32),
        pixels=pixels.astype(np.float32),
        points=points,
        point_indices=np.arange(count),
        pixel_points=pixel_points,
        scores=np.linspace(1, 0.5, count).astype(np.float32),
        image_nodes=np.array([*range(10), 0]),
        point_nodes=np.array([*range(10), 0]),
        true_image_nodes=np.array([*range(6), 50]),
        true_point_nodes=np.array([*range(6), 60]),
        true_overlaps=np.append(true_overlaps, 0.9).astype(np.float32),
        jpeg=None,
    )


@pytest.fixture
def made() -> Made:
    return _made
