"""Refines the pose of a camera, or of a body with several, by the reprojection errors of its matches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.compiled import compiled
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.camera_matches import CameraMatches
from diff2i2p_core.geometry.covariance import perturb
from diff2i2p_core.typing import Array

_STEPS = 10


def refine(start: Array, matches: Sequence[CameraMatches]) -> tuple[Array, float]:
    """Levenberg-Marquardt on Cauchy losses truncated at each camera's maximum error, from the pose `start`,
    the points_from_body of the body that carries the cameras. Returns the pose and its loss.

    Inliers are reselected each step. Values must be finite, and the origin should be near the points.
    """
    scene = (
        np.concatenate([each.pixels for each in matches], dtype=np.float64),
        np.concatenate([each.points for each in matches], dtype=np.float64),
        np.cumsum([len(each.points) for each in matches]),
        np.array([_pinhole(each.camera) for each in matches], np.float64),
        np.array([each.max_error_px for each in matches], np.float64),
    )
    mounts = np.stack([each.body_from_camera for each in matches])
    pose = np.array(start, np.float64)
    hessian, gradient, loss, inliers = _normal_equations(pose[:3, 3].copy(), pose @ mounts, *scene)
    damping = 1e-4
    for _ in range(_STEPS):
        if inliers < 4:
            break
        full = hessian + np.tril(hessian, -1).T
        trial = perturb(pose, -np.linalg.solve(full + damping * np.diag(full.diagonal() + 1e-12), gradient))
        found = _normal_equations(trial[:3, 3].copy(), trial @ mounts, *scene)
        if found[2] >= loss:
            damping *= 10
            if damping > 1e4:
                break
            continue
        converged = loss - found[2] < 1e-6 * loss
        pose, damping = trial, max(damping / 10, 1e-10)
        hessian, gradient, loss, inliers = found
        if converged:
            break
    return pose, loss


def _pinhole(camera: Camera) -> tuple[float, float, float, float]:
    return camera.fx, camera.fy, camera.cx, camera.cy


@compiled
def _normal_equations(
    origin: Array,
    poses: Array,
    pixels: Array,
    points: Array,
    ends: NDArray[np.int64],
    pinholes: Array,
    limits: Array,
) -> tuple[Array, Array, float, int]:
    """The Hessian (6, 6), its lower half, and the gradient (6,) of the loss by the pose of a body at `origin`
    (3,), in ROS order; the loss, and the number of inliers.

    Its cameras have `poses` (C, 4, 4), `pinholes` (C, 4), fx, fy, cx and cy, and `limits` (C,) of the error
    in pixels. The matches of a camera end at `ends` (C,), where those of the next begin.
    """
    hessian, gradient, loss, inliers = np.zeros((6, 6)), np.zeros(6), 0.0, 0
    row, seen = np.empty(6), np.empty(3)
    for c in range(len(ends)):
        turn, center = poses[c, :3, :3], poses[c, :3, 3]
        scale2 = (limits[c] / 4) ** 2
        fx, fy, cx, cy = pinholes[c, 0], pinholes[c, 1], pinholes[c, 2], pinholes[c, 3]
        for i in range(ends[c - 1] if c else 0, ends[c]):
            for k in range(3):
                seen[k] = 0.0
                for a in range(3):
                    seen[k] += turn[a, k] * (points[i, a] - center[a])
            z = seen[2] if abs(seen[2]) >= 1e-9 else 1e-9
            x, y = seen[0] / z, seen[1] / z
            errors = fx * x + cx - pixels[i, 0], fy * y + cy - pixels[i, 1]
            squared = (errors[0] ** 2 + errors[1] ** 2) / scale2
            if not (squared < 16 and z > 0):  # beyond the limit
                loss += np.log1p(16.0)
                continue
            inliers += 1
            loss += np.log1p(squared)
            weight = 1 / (1 + squared)
            for axis in range(2):
                focal, ratio = (fx, x) if axis == 0 else (fy, y)
                for a in range(3):
                    row[a] = -(turn[a, axis] - turn[a, 2] * ratio) * focal / z
                for a in range(3):  # a rotation moves the point about the body's origin
                    p, q = (a + 1) % 3, (a + 2) % 3
                    row[3 + a] = (points[i, p] - origin[p]) * row[q] - (points[i, q] - origin[q]) * row[p]
                for a in range(6):
                    gradient[a] += weight * row[a] * errors[axis]
                    for b in range(a + 1):
                        hessian[a, b] += weight * row[a] * row[b]
    return hessian, gradient, loss, inliers
