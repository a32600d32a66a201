"""Uncertainty of a camera pose from reprojection errors.

The 6-vector of a pose follows ROS (PoseWithCovariance): x, y, z, rotX, rotY, rotZ of map_from_camera. The
rotations are small and about the fixed axes of the map frame; they do not move the camera's centre.
"""

from __future__ import annotations

from collections.abc import Sequence

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


UNLIKELY = 12.6
"""The squared distance of two estimates of one pose that one of 20 exceeds: six degrees of freedom."""


def squared_distance(map_from_camera: Array, reference: Array, covariance: Array) -> float:
    """The squared Mahalanobis distance of two poses, whose difference has this covariance (6, 6)."""
    step = difference(map_from_camera, reference)
    return float(step @ np.linalg.inv(covariance) @ step)


def fused(poses: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """The mean of independent estimates of one pose, weighted by their covariances, and its covariance.

    `poses` are pairs of map_from_camera and covariance (6, 6), one or more. The mean is taken in 6-vectors
    from the first pose: leave out those that contradict it.
    """
    reference = poses[0][0]
    information, pull = np.zeros((6, 6)), np.zeros(6)
    for pose, covariance in poses:
        weight = np.linalg.inv(covariance)
        information += weight
        pull += weight @ difference(pose, reference)
    covariance = np.asarray(np.linalg.inv(information), np.float64)
    return perturb(reference, covariance @ pull), (covariance + covariance.T) / 2


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
    x, y, z = ((points - map_from_camera[:3, 3]) @ rotation).T
    safe = np.where(np.abs(z) < 1e-9, 1e-9, z)
    a, b = x / safe, y / safe
    u_scale, v_scale = camera.fx / safe, camera.fy / safe
    pixels = np.stack([camera.fx * a + camera.cx, camera.fy * b + camera.cy], axis=1)
    # Moving the pose by (dt, dw) has the same effect as moving the point by -dt - dw x offset. The
    # derivatives by both, in the camera's axes, are filled in: in half the time of stacking them.
    by_motion = np.zeros((len(points), 2, 2, 3))
    by_u, by_v = by_motion[:, 0], by_motion[:, 1]
    by_u[:, 0, 0], by_u[:, 0, 2] = -u_scale, u_scale * a
    by_v[:, 0, 1], by_v[:, 0, 2] = -v_scale, v_scale * b
    by_u[:, 1, 0], by_u[:, 1, 1], by_u[:, 1, 2] = u_scale * a * y, -u_scale * (a * x + z), u_scale * y
    by_v[:, 1, 0], by_v[:, 1, 1], by_v[:, 1, 2] = v_scale * (b * y + z), -v_scale * b * x, -v_scale * x
    return pixels, z, (by_motion.reshape(-1, 3) @ rotation.T).reshape(-1, 2, 6)


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
