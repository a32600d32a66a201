"""Rigid transforms as 4x4 float64 matrices. `a_from_b` maps coordinates in b to coordinates in a."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from diff2i2p_core.typing import Array


def compose(rotation: ArrayLike, translation: ArrayLike) -> Array:
    """(3, 3) rotation and (3,) translation in metres to a (4, 4) transform."""
    a_from_b = np.eye(4)
    a_from_b[:3, :3] = rotation
    a_from_b[:3, 3] = translation
    return a_from_b


def invert(a_from_b: ArrayLike) -> Array:
    """The inverse of a rigid transform (4, 4), by transposition."""
    matrix = np.asarray(a_from_b, dtype=np.float64)
    return compose(matrix[:3, :3].T, -matrix[:3, :3].T @ matrix[:3, 3])


def rigid(almost: ArrayLike) -> Array:
    """A product of transforms (4, 4) with its rotation made orthonormal again."""
    matrix = np.asarray(almost, dtype=np.float64)
    return compose(Rotation.from_matrix(matrix[:3, :3]).as_matrix(), matrix[:3, 3])


def transform_points(a_from_b: ArrayLike, points: ArrayLike) -> Array:
    """Points (N, 3) in b to (N, 3) in a."""
    matrix = np.asarray(a_from_b, dtype=np.float64)
    moved: Array = np.asarray(points, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    return moved


def from_quaternion(translation: ArrayLike, quaternion_xyzw: ArrayLike) -> Array:
    """The (4, 4) transform of a translation (3,) and a quaternion (x, y, z, w), which is normalised here."""
    return compose(Rotation.from_quat(np.asarray(quaternion_xyzw, float)).as_matrix(), translation)


def to_quaternion(a_from_b: ArrayLike) -> Array:
    """The rotation of a (4, 4) transform as a unit quaternion (x, y, z, w) with w >= 0."""
    quaternion = Rotation.from_matrix(np.asarray(a_from_b, float)[:3, :3]).as_quat()
    return np.asarray(quaternion if quaternion[3] >= 0 else -quaternion)


def exp(twist: ArrayLike) -> Array:
    """The transform of a 6-vector (rotation vector in radians, then translation in metres)."""
    vector = np.asarray(twist, float)
    return compose(Rotation.from_rotvec(vector[:3]).as_matrix(), vector[3:])


def rotation_error_deg(a: ArrayLike, b: ArrayLike) -> float:
    """The angle in degrees between the rotations of two transforms."""
    relative = np.asarray(a, float)[:3, :3].T @ np.asarray(b, float)[:3, :3]
    return float(np.degrees(Rotation.from_matrix(relative).magnitude()))


def translation_error(a: ArrayLike, b: ArrayLike) -> float:
    """The distance in metres between the origins of two transforms into the same frame."""
    return float(np.linalg.norm(np.asarray(a, float)[:3, 3] - np.asarray(b, float)[:3, 3]))


def is_near(a: ArrayLike, b: ArrayLike, metres: float, degrees: float) -> bool:
    """Whether two transforms into the same frame differ by at most `metres` and `degrees`."""
    return translation_error(a, b) <= metres and rotation_error_deg(a, b) <= degrees


def is_rigid(matrix: ArrayLike, tolerance: float = 1e-3) -> bool:
    """Whether a matrix is a finite (4, 4) rigid transform (rotation orthonormal within `tolerance`)."""
    m = np.asarray(matrix, float)
    return (
        m.shape == (4, 4)
        and bool(np.isfinite(m).all())
        and bool(np.allclose(m[:3, :3] @ m[:3, :3].T, np.eye(3), atol=tolerance))
        and bool(np.allclose(m[3], [0, 0, 0, 1]))
        and float(np.linalg.det(m[:3, :3])) > 0
    )
