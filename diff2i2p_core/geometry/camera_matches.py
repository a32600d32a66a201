"""Matches of an image with a map, and how far they are from where a pose predicts them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.covariance import reprojection
from diff2i2p_core.typing import Array


@dataclass(frozen=True)
class CameraMatches:
    """Matches of one camera of a body with a map."""

    pixels: Array
    """(N, 2) in the rectified image."""
    points: Array
    """(N, 3)."""
    camera: Camera
    """Without distortion."""
    body_from_camera: Array
    max_error_px: float
    """Maximum reprojection error of an inlier in this camera's image."""
    scores: Array | None = None
    """(N,) higher for better matches."""

    def inliers_at(self, map_from_body: Array) -> tuple[NDArray[np.bool_], Array]:
        """Inlier mask (N,) and residuals (N, 2) at a pose of the body."""
        pose = map_from_body @ self.body_from_camera
        inliers, residual, _ = inliers_at(pose, self.pixels, self.points, self.camera, self.max_error_px)
        return inliers, residual


def inliers_at(
    points_from_camera: Array, uv: Array, xyz: Array, camera: Camera, max_error_px: float
) -> tuple[NDArray[np.bool_], Array, Array]:
    """Inlier mask (N,), residuals (N, 2) and their Jacobian (N, 2, 6)."""
    projected, z, jacobian = reprojection(points_from_camera, xyz, camera)
    residual = projected - uv
    with np.errstate(over="ignore"):
        close = (residual**2).sum(axis=1) < max_error_px**2
    return close & (z > 0), residual, jacobian
