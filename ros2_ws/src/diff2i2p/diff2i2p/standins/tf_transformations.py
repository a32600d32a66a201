"""The part of tf_transformations that the node uses. Quaternions are (x, y, z, w)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diff2i2p_core.geometry.se3 import from_quaternion, to_quaternion


def quaternion_matrix(quaternion: ArrayLike) -> NDArray[np.float64]:
    """(4, 4) of a quaternion, which is normalised here."""
    return from_quaternion(np.zeros(3), quaternion)


def quaternion_from_matrix(matrix: ArrayLike) -> tuple[float, float, float, float]:
    """The rotation of a (4, 4) matrix, with w >= 0."""
    x, y, z, w = (float(value) for value in to_quaternion(matrix))
    return x, y, z, w
