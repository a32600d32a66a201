"""Random rigid motion and noise of a training cloud, image untouched (METHOD 1.3, step 4)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from diff2i2p_core.geometry.se3 import compose, invert, transform_points
from diff2i2p_core.typing import Array

MAX_ANGLE = 0.1 * np.pi / np.sqrt(3)
"""Radians, 10.4 degrees."""
TRANSLATION = 0.1 / np.sqrt(3)
"""Metres a coordinate: standard deviation if `released`, largest if `corrected`."""
NOISE = 0.005
"""Metres: width of the uniform noise of each coordinate."""


def move_cloud(
    cloud: NDArray[np.float32],
    camera_from_cloud: Array,
    kind: Literal["released", "corrected"],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], Array]:
    """The cloud (N, 3) turned about its centroid, shifted and with noise, and its new camera_from_cloud."""
    turned = compose(random_rotation(kind, rng), random_translation(kind, rng))
    centroid = compose(np.eye(3), cloud.mean(axis=0, dtype=np.float64))
    moved_from_cloud = centroid @ turned @ invert(centroid)
    noise = rng.uniform(-NOISE / 2, NOISE / 2, cloud.shape)
    moved = transform_points(moved_from_cloud, cloud) + noise
    return moved.astype(np.float32), camera_from_cloud @ invert(moved_from_cloud)


def random_rotation(kind: Literal["released", "corrected"], rng: np.random.Generator) -> Array:
    """(3, 3), up to `MAX_ANGLE`. The released axes crowd about the z axis (METHOD D21)."""
    if kind == "released":
        phi, theta = rng.uniform(0, 2 * np.pi), rng.uniform(0, np.pi)
        axis = np.array([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])
    else:
        axis = rng.normal(size=3)
        axis /= np.linalg.norm(axis)
    return np.asarray(Rotation.from_rotvec(axis * rng.uniform(0, MAX_ANGLE)).as_matrix())


def random_translation(kind: Literal["released", "corrected"], rng: np.random.Generator) -> Array:
    """(3,) metres: Gaussian as released, uniform as documented (METHOD D21)."""
    unit = rng.normal(size=3) if kind == "released" else rng.uniform(-1, 1, 3)
    return np.asarray(unit * TRANSLATION)
