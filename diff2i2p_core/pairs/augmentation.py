"""Random rigid motion and noise for training clouds (docs/method.md R2), and enlarged images."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import compose, invert, transform_points
from diff2i2p_core.typing import Array

MAX_ANGLE = 0.1 * np.pi / np.sqrt(3)
"""Radians, 10.4 degrees."""
TRANSLATION = 0.1 / np.sqrt(3)
"""Maximum metres per coordinate."""
GROUND_SHIFT = 10.0
"""Metres, as in tests on KITTI since DeepI2P (CVPR 2021)."""
NOISE = 0.005
"""Metres; the width of the uniform noise of each coordinate."""
Motion = Callable[[np.random.Generator], Array]
"""Draws a rigid transform (4, 4)."""


def move_cloud(
    cloud: NDArray[np.float32], camera_from_cloud: Array, motion: Motion, rng: np.random.Generator
) -> tuple[NDArray[np.float32], Array]:
    """The cloud (N, 3), moved about its centroid and with noise added, and its new camera_from_cloud."""
    turned = motion(rng)
    centroid = compose(np.eye(3), cloud.mean(axis=0, dtype=np.float64))
    moved_from_cloud = centroid @ turned @ invert(centroid)
    noise = rng.uniform(-NOISE / 2, NOISE / 2, cloud.shape)
    moved = transform_points(moved_from_cloud, cloud) + noise
    return moved.astype(np.float32), camera_from_cloud @ invert(moved_from_cloud)


def enlarge(
    image: NDArray[np.uint8], depth: NDArray[np.float32], camera: Camera, factor: float
) -> tuple[NDArray[np.uint8], NDArray[np.float32], Camera]:
    """Image (H, W, 3), depth (H, W) and camera, enlarged about the image's centre and cut to the same
    size."""
    shift = (1 - factor) * np.array([camera.width - 1, camera.height - 1]) / 2
    zoom = np.array([[factor, 0, shift[0]], [0, factor, shift[1]]])
    size = (camera.width, camera.height)
    image = np.asarray(cv2.warpAffine(image, zoom, size, flags=cv2.INTER_LINEAR), np.uint8)
    depth = np.asarray(cv2.warpAffine(depth, zoom, size, flags=cv2.INTER_NEAREST), np.float32)
    (cx, cy), (fx, fy) = factor * np.array([camera.cx, camera.cy]) + shift, (camera.fx, camera.fy)
    return image, depth, Camera(*size, factor * fx, factor * fy, cx, cy)


def random_motion(rng: np.random.Generator) -> Array:
    """(4, 4)."""
    return compose(random_rotation(rng), random_translation(rng))


def ground_motion(rng: np.random.Generator) -> Array:
    """(4, 4) turn by any angle about the vertical y axis, and a shift on the ground of up to `GROUND_SHIFT`
    along both axes."""
    turn = Rotation.from_rotvec([0, rng.uniform(-np.pi, np.pi), 0]).as_matrix()
    x, z = rng.uniform(-GROUND_SHIFT, GROUND_SHIFT, 2)
    return compose(turn, np.array([x, 0, z]))


def random_rotation(rng: np.random.Generator) -> Array:
    """(3, 3), up to `MAX_ANGLE` about any axis."""
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    return np.asarray(Rotation.from_rotvec(axis * rng.uniform(0, MAX_ANGLE)).as_matrix())


def random_translation(rng: np.random.Generator) -> Array:
    """(3,) metres, uniform up to `TRANSLATION` in each coordinate."""
    return np.asarray(rng.uniform(-1, 1, 3) * TRANSLATION)
