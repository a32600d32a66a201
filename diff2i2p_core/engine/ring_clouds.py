"""Clouds as from a spinning lidar, for training geometry features: points on rings, with noise in range."""

from __future__ import annotations

import numpy as np

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.typing import Array

_RING_DEG, _WIDTH_DEG = (0.5, 2.0), 0.12
"""Degrees of elevation between rings, and the half width of a ring."""
_HIGHEST_DEG = (25.0, 60.0)
"""The rings reach from minus this elevation to plus this."""
_NOISE, _KEPT, _NEAREST = (0.005, 0.03), (0.4, 1.0), 0.4
"""Metres of noise along the rays (standard deviation), the share of points that return, and metres."""
_SCANS = (3, 12)


def ring_cloud(cloud: PointCloud, poses: Array, up: Array, rng: np.random.Generator) -> PointCloud:
    """The part of a dense cloud on the rings of a level scanner at some of `poses` (P, 4, 4).

    `up` (3,) is the unit vector up. What stands between the scanner and a point is ignored.
    """
    spacing = np.radians(rng.uniform(*_RING_DEG))
    highest, noise = np.radians(rng.uniform(*_HIGHEST_DEG)), rng.uniform(*_NOISE)
    share = rng.uniform(*_KEPT)
    scans = min(len(poses), int(rng.integers(*_SCANS)))
    parts = []
    for index in rng.choice(len(poses), scans, replace=False):
        rays = cloud.points - poses[index, :3, 3]
        ranges = np.linalg.norm(rays, axis=1)
        elevation = np.arcsin(np.clip(rays @ up / np.maximum(ranges, 1e-6), -1, 1)) + rng.uniform(0, spacing)
        off = np.abs(elevation - np.rint(elevation / spacing) * spacing)
        kept = (off < np.radians(_WIDTH_DEG)) & (np.abs(elevation) < highest) & (ranges > _NEAREST)
        kept &= rng.random(len(rays)) < share
        along = rays[kept] / ranges[kept, None]
        parts.append(cloud.points[kept] + along * rng.normal(0, noise, (int(kept.sum()), 1)))
    return PointCloud(np.concatenate(parts).astype(np.float32))


def up_of(poses: Array) -> Array:
    """The unit vector (3,) that is up in the images of `poses` (P, 4, 4) on average."""
    mean = -poses[:, :3, 1].mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean))
