"""The overlap of an image and a cloud: the fraction of pixels with depth that have a point nearby."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import MAX_DEPTH, back_project
from diff2i2p_core.geometry.se3 import invert, transform_points
from diff2i2p_core.typing import Array

SAMPLES = 4800
"""Number of pixels used, in a grid. The overlap is then known to about 0.01."""
_FEW = 16
"""Stride of those that are tried first."""


def depth_samples(
    depth: NDArray[np.float32], camera: Camera, max_depth: float = MAX_DEPTH
) -> NDArray[np.float32]:
    """Points (K, 3) in the camera frame for a grid of pixels of a depth image (H, W) in metres."""
    stride = max(1, round((depth.size / SAMPLES) ** 0.5))
    sparse = np.zeros_like(depth)
    sparse[stride // 2 :: stride, stride // 2 :: stride] = depth[stride // 2 :: stride, stride // 2 :: stride]
    sparse[sparse > max_depth] = 0
    return back_project(sparse, camera)[sparse > 0]


def overlap(
    samples: NDArray[np.float32],
    tree: cKDTree,
    camera_from_cloud: Array,
    radius: float,
    at_least: float = 0.0,
) -> float:
    """Fraction of the samples (K, 3) in the camera frame with a point of the cloud's tree within `radius`
    metres.

    Returns 0 instead if a few of the samples already show that it is far below `at_least`.
    """
    if len(samples) == 0:
        return 0.0
    in_cloud = transform_points(invert(camera_from_cloud), samples)
    # Three standard deviations, as if the few were drawn at random.
    few = in_cloud[::_FEW]
    if _near(few, tree, radius) < at_least - 1.5 / np.sqrt(len(few)):
        return 0.0
    return _near(in_cloud, tree, radius)


def _near(points: Array, tree: cKDTree, radius: float) -> float:
    distance, _ = tree.query(points, distance_upper_bound=radius)
    return float(np.isfinite(distance).mean())
