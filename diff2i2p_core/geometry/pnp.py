"""Estimates a camera pose from pixel-to-point correspondences, most of which may be wrong."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.camera_matches import CameraMatches, inliers_at
from diff2i2p_core.geometry.covariance import pose_covariance
from diff2i2p_core.geometry.pose_refinement import refine
from diff2i2p_core.geometry.se3 import compose, invert
from diff2i2p_core.typing import Array

SOLVERS = ("auto", "poselib", "opencv")
_MIN_ITERATIONS = 30
"""Of RANSAC with poselib. It takes more until it has the wanted confidence: 60 if two thirds are inliers."""


@dataclass(frozen=True)
class PnpSettings:
    solver: str = "auto"
    """`poselib`, `opencv` (its USAC), or `auto`: poselib if it is installed, else opencv."""
    max_error_px: float = 8.0
    """Maximum reprojection error of an inlier."""
    max_iterations: int = 1000
    confidence: float = 0.9999
    max_correspondences: int = 2048
    """At most this many correspondences are used: those with the best scores."""
    min_inliers: int = 4
    min_sigma_px: float = 0.3
    """Lower bound of the pixel noise in the covariance, because matched pixels are quantised."""
    seed: int = 0


@dataclass(frozen=True)
class PoseEstimate:
    camera_from_points: Array
    """(4, 4)."""
    inliers: NDArray[np.bool_]
    """(N,) over the correspondences given."""
    num_inliers: int
    reprojection_error_px: float
    """Root mean square over the inliers."""
    covariance: Array
    """(6, 6) of points_from_camera, ROS order; see `geometry.covariance`."""


@dataclass(frozen=True)
class NoPose:
    reason: str
    """One phrase."""


def solve_pnp(
    pixels: ArrayLike,
    points: ArrayLike,
    camera: Camera,
    scores: ArrayLike | None = None,
    settings: PnpSettings | None = None,
) -> PoseEstimate | NoPose:
    """Pose from pixels (N, 2) (u, v) of an undistorted image, points (N, 3) and scores (N,).

    Robust estimation that tries high scores first (LO-RANSAC with PROSAC sampling), then Levenberg-Marquardt
    with a Cauchy loss on the inliers. Deterministic. `NoPose` if the data do not determine a pose.
    """
    settings = settings or PnpSettings()
    uv, xyz = np.asarray(pixels, np.float64), np.asarray(points, np.float64)
    if uv.ndim != 2 or uv.shape[1:] != (2,) or xyz.shape != (len(uv), 3):
        raise ValueError(f"expected pixels (N, 2) and points (N, 3), got {uv.shape} and {xyz.shape}")
    order = best_rows(
        uv, xyz, None if scores is None else np.asarray(scores, np.float64), settings.max_correspondences
    )
    if len(order) < max(4, settings.min_inliers):
        return NoPose(f"too few correspondences ({len(order)})")
    center = xyz[order].mean(axis=0)  # map coordinates may be large (UTM); the solvers need small numbers
    local = xyz[order] - center
    if is_collinear(local):
        return NoPose("degenerate points (on one line)")
    start = ransac_pose(uv[order], local, camera, settings, ranked=scores is not None)
    if start is None:
        return NoPose("no consistent pose")
    matches = CameraMatches(uv[order], local, camera, np.eye(4), settings.max_error_px)
    points_from_camera, _ = refine(invert(start), [matches])
    points_from_camera[:3, 3] += center
    inliers = np.zeros(len(uv), bool)
    finite = np.isfinite(uv).all(axis=1) & np.isfinite(xyz).all(axis=1)
    near, residual, jacobian = inliers_at(
        points_from_camera, uv[finite], xyz[finite], camera, settings.max_error_px
    )
    inliers[finite], residual, jacobian = near, residual[near], jacobian[near]
    count = int(inliers.sum())
    if count < settings.min_inliers:
        return NoPose(f"too few inliers ({count})")
    covariance = pose_covariance(residual, jacobian, min_sigma_px=settings.min_sigma_px)
    if covariance is None or is_collinear(xyz[inliers] - xyz[inliers].mean(axis=0)):
        return NoPose("degenerate inliers (they do not determine the pose)")
    error = float(np.sqrt((residual**2).sum(axis=1).mean()))
    return PoseEstimate(invert(points_from_camera), inliers, count, error, covariance)


def best_rows(uv: Array, xyz: Array, scores: Array | None, limit: int) -> NDArray[np.int64]:
    """Indices of at most `limit` finite correspondences, best score first."""
    finite = np.isfinite(uv).all(axis=1) & np.isfinite(xyz).all(axis=1)
    if scores is None:
        rows = np.flatnonzero(finite)
        step = max(1, -(-len(rows) // limit))
        return rows[::step]
    rows = np.flatnonzero(finite & np.isfinite(scores))
    return rows[np.argsort(-scores[rows], kind="stable")][:limit]


def is_collinear(centered: Array) -> bool:
    """Whether points (N, 3), given relative to their mean, are on one line."""
    spread = np.linalg.svd(centered, compute_uv=False)
    return bool(spread[1] <= 1e-4 * spread[0])


def ransac_pose(
    uv: Array, xyz: Array, camera: Camera, settings: PnpSettings, *, ranked: bool
) -> Array | None:
    """camera_from_points from finite pixels (N, 2) and points (N, 3), N >= 4, to be refined. The origin
    should be near the points. `ranked`: they are sorted by score, best first."""
    if settings.solver not in SOLVERS:
        raise InputError(f"PnP solver '{settings.solver}' is unknown; use one of {', '.join(SOLVERS)}")
    if uses_poselib(settings):
        return _poselib(uv, xyz, camera, settings)
    return _opencv(uv, xyz, camera, settings, ranked)


def uses_poselib(settings: PnpSettings) -> bool:
    """Whether poselib solves. InputError if the settings name it, but it is not installed."""
    has_poselib = importlib.util.find_spec("poselib") is not None
    if settings.solver == "poselib" and not has_poselib:
        raise InputError("PnP solver 'poselib' is not installed; pip install poselib, or use opencv")
    return has_poselib and settings.solver != "opencv"


def _poselib(uv: Array, xyz: Array, camera: Camera, settings: PnpSettings) -> Array | None:
    import poselib

    ransac, bundle = poselib_options(settings)
    pose, info = poselib.estimate_absolute_pose(uv, xyz, poselib_camera(camera), ransac, bundle)
    if info["num_inliers"] < 4:
        return None
    camera_from_points = compose(pose.R, pose.t)
    return camera_from_points if np.isfinite(camera_from_points).all() else None


def poselib_camera(camera: Camera) -> dict[str, Any]:
    """A camera without distortion in poselib's terms."""
    return {
        "model": "PINHOLE",
        "width": camera.width,
        "height": camera.height,
        "params": [camera.fx, camera.fy, camera.cx, camera.cy],
    }


def poselib_options(settings: PnpSettings) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options for poselib's RANSAC and for its refinement."""
    ransac = {
        "max_reproj_error": settings.max_error_px,
        "max_iterations": settings.max_iterations,
        "min_iterations": min(_MIN_ITERATIONS, settings.max_iterations),
        "success_prob": settings.confidence,
        "progressive_sampling": True,
        "max_prosac_iterations": settings.max_iterations,
        "seed": settings.seed,
    }
    return ransac, {"loss_type": "CAUCHY", "loss_scale": settings.max_error_px / 4, "max_iterations": 25}


def _opencv(uv: Array, xyz: Array, camera: Camera, settings: PnpSettings, ranked: bool) -> Array | None:
    params = cv2.UsacParams()
    # OpenCV's PROSAC misses poses if the order carries no information; poselib's does not.
    params.sampler = cv2.SAMPLING_PROSAC if ranked else cv2.SAMPLING_UNIFORM
    params.score = cv2.SCORE_METHOD_MSAC
    # LOCAL_OPTIM_INNER_AND_ITER_LO finds a few more poses, but takes two to three times as long.
    params.loMethod = cv2.LOCAL_OPTIM_INNER_LO
    params.threshold = settings.max_error_px
    params.maxIterations = settings.max_iterations
    params.confidence = settings.confidence
    params.randomGeneratorState = settings.seed
    try:
        success, _, rotation, translation, inliers = cv2.solvePnPRansac(
            xyz, uv, camera.matrix, None, params=params
        )
    except cv2.error:
        return None
    if not success or inliers is None or len(inliers) < 4:
        return None
    camera_from_points = compose(cv2.Rodrigues(rotation)[0], translation.ravel())
    return camera_from_points if np.isfinite(camera_from_points).all() else None
