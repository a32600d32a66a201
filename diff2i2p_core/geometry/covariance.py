"""Uncertainty of a camera pose from reprojection errors.

The 6-vector of a pose follows ROS (PoseWithCovariance): x, y, z, rotX, rotY, rotZ of map_from_camera. The
rotations are small and about the fixed axes of the map frame; they do not move the camera's centre.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import compose, exp
from diff2i2p_core.typing import Array


def perturb(map_from_camera: Array, delta: Array) -> Array:
    """The pose moved by a 6-vector in ROS order (see the module)."""
    return compose(
        exp([*delta[3:], 0, 0, 0])[:3, :3] @ map_from_camera[:3, :3], map_from_camera[:3, 3] + delta[:3]
    )


def difference(map_from_camera: Array, reference: Array) -> Array:
    """The 6-vector in ROS order that moves the pose `reference` to another one: what `perturb` takes."""
    turn = Rotation.from_matrix(map_from_camera[:3, :3] @ reference[:3, :3].T).as_rotvec()
    return np.concatenate([map_from_camera[:3, 3] - reference[:3, 3], turn])


def in_sigmas(map_from_camera: Array, covariance: Array, truth: Array) -> Array:
    """The error (6,) of a pose, each component divided by its reported standard deviation.

    If covariances are realistic, 68 % of the components are within +-1, and 95 % within +-2.
    """
    return difference(map_from_camera, truth) / np.sqrt(covariance.diagonal())


def covariance_at(covariance: Array, lever: Array) -> Array:
    """The covariance (6, 6) of a body's pose at another point fixed to it.

    `lever` (3,) is the vector from the first point to the other, in the axes of the fixed frame. Rotations
    are about the fixed axes, so the other point moves by dt + dr x lever.
    """
    jacobian = lever_jacobian(lever)
    return np.asarray(jacobian @ covariance @ jacobian.T)


def lever_jacobian(lever: Array) -> Array:
    """The derivative (6, 6) of the motion of a point on a body by the body's motion; see `covariance_at`."""
    x, y, z = lever
    jacobian = np.eye(6)
    jacobian[:3, 3:] = [[0, z, -y], [-z, 0, x], [y, -x, 0]]
    return jacobian


def reprojection(map_from_camera: Array, points: Array, camera: Camera) -> tuple[Array, Array, Array]:
    """Pixels (N, 2) and depths (N,) of map points (N, 3), and the derivative (N, 2, 6) of the pixels."""
    rotation = map_from_camera[:3, :3]
    offset = points - map_from_camera[:3, 3]
    x, y, z = (offset @ rotation).T
    safe = np.where(np.abs(z) < 1e-9, 1e-9, z)
    pixels = np.stack([camera.fx * x / safe + camera.cx, camera.fy * y / safe + camera.cy], axis=1)
    zero = np.zeros_like(safe)
    by_camera_point = np.stack(
        [
            np.stack([camera.fx / safe, zero, -camera.fx * x / safe**2], axis=1),
            np.stack([zero, camera.fy / safe, -camera.fy * y / safe**2], axis=1),
        ],
        axis=1,
    )
    by_map_point = by_camera_point @ rotation.T
    # Moving the pose by (dt, dw) has the same effect as moving the point by -dt - dw x offset.
    jacobian = np.concatenate([-by_map_point, _cross(by_map_point, offset[:, None])], axis=2)
    return pixels, z, jacobian


def _cross(a: Array, b: Array) -> Array:
    """Cross products along the last axis. np.cross is several times slower on small arrays."""
    return np.stack(
        [
            a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1],
            a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2],
            a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0],
        ],
        axis=-1,
    )


def pose_covariance(residual: Array, jacobian: Array, *, min_sigma_px: float = 0.0) -> Array | None:
    """6x6 covariance (metres, radians, ROS order) of a pose fitted to inliers.

    `residual` (N, 2) of their pixels and its `jacobian` (N, 2, 6), as returned by `reprojection`.

    The result is the inverse Gauss-Newton Hessian times the variance of the residuals (two per
    correspondence, minus six degrees of freedom), which is at least `min_sigma_px` squared. None if the
    inliers do not determine the pose.
    """
    flat = jacobian.reshape(-1, 6)
    scale = np.linalg.norm(flat, axis=0)
    if len(residual) < 4 or not np.isfinite(flat).all() or (scale == 0).any():
        return None
    normalised = flat / scale
    hessian = normalised.T @ normalised
    eigenvalues = np.linalg.eigvalsh(hessian)
    if eigenvalues[0] < 1e-9 * eigenvalues[-1]:
        return None
    variance = float((residual**2).sum()) / max(2 * len(residual) - 6, 1)
    covariance = np.linalg.inv(hessian) / np.outer(scale, scale) * max(variance, min_sigma_px**2)
    return np.asarray((covariance + covariance.T) / 2)
