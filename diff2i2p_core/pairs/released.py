"""Random motions of training clouds and slanted depth, as in the released code (docs/method.md R2, R3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import compose
from diff2i2p_core.pairs.augmentation import MAX_ANGLE, TRANSLATION
from diff2i2p_core.typing import Array


def random_motion(rng: np.random.Generator) -> Array:
    """(4, 4)."""
    return compose(random_rotation(rng), random_translation(rng))


def random_rotation(rng: np.random.Generator) -> Array:
    """(3, 3), up to `MAX_ANGLE` about axes concentrated near the z axis."""
    phi, theta = rng.uniform(0, 2 * np.pi), rng.uniform(0, np.pi)
    axis = np.array([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])
    return np.asarray(Rotation.from_rotvec(axis * rng.uniform(0, MAX_ANGLE)).as_matrix())


def random_translation(rng: np.random.Generator) -> Array:
    """(3,) metres, Gaussian; `TRANSLATION` is the standard deviation of a coordinate."""
    return np.asarray(rng.normal(size=3) * TRANSLATION)


def slanted(points: NDArray[np.float32], pixels: NDArray[np.float64], camera: Camera) -> NDArray[np.float32]:
    """Back-projected points (N, 3) of pixels (N, 2), moved down by up to a row, more at the right."""
    rows = pixels[:, 0] / camera.width
    return points + np.outer(rows * points[:, 2] / camera.fy, [0, 1, 0]).astype(np.float32)
