"""Estimates the pose of a body from the matches of all its cameras: the generalized PnP problem.

Where poselib is installed, its generalized solver draws samples over all cameras. Each camera's own pose is
a start as well, so that a camera with wrong matches only cannot spoil the sampling. All starts are refined
with the matches of all cameras, and the best one is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera_matches import CameraMatches, inliers_at
from diff2i2p_core.geometry.covariance import lever_jacobian, pose_covariance
from diff2i2p_core.geometry.pnp import (
    NoPose,
    PnpSettings,
    best_rows,
    is_collinear,
    poselib_camera,
    poselib_options,
    ransac_pose,
    uses_poselib,
)
from diff2i2p_core.geometry.pose_refinement import refine
from diff2i2p_core.geometry.se3 import compose, invert, rigid
from diff2i2p_core.typing import Array


@dataclass(frozen=True)
class RigEstimate:
    map_from_body: Array
    """(4, 4)."""
    inliers: tuple[NDArray[np.bool_], ...]
    """A mask over the matches of each camera."""
    num_inliers: int
    """Of all cameras."""
    reprojection_error_px: float
    """Root mean square over the inliers, each camera's errors scaled so that its limit is the settings'
    `max_error_px`."""
    covariance: Array
    """(6, 6) of map_from_body, ROS order; see `geometry.covariance`."""


def solve_rig_pnp(
    matches: Sequence[CameraMatches], settings: PnpSettings | None = None
) -> RigEstimate | NoPose:
    """The pose of the body on which the matches of all cameras agree.

    Errors count relative to each camera's limit, so cameras of different resolution have the same weight.
    Deterministic. `NoPose` if the data do not determine a pose.
    """
    settings = settings or PnpSettings()
    scaled = [_scaled(each, settings.max_error_px) for each in matches]
    used = [_best(each, settings) for each in scaled]
    count = sum(len(each.points) for each in used)
    if count < max(4, settings.min_inliers):
        return NoPose(f"too few correspondences ({count})")
    center = np.concatenate([each.points for each in used]).mean(axis=0)  # solvers need small numbers
    local = [replace(each, points=each.points - center) for each in used]
    refined = [refine(start, local) for start in _starts(local, settings)]
    if not refined:
        return NoPose("no consistent pose")
    pose = min(refined, key=lambda pose_and_loss: pose_and_loss[1])[0]
    pose[:3, 3] += center
    return _estimate(pose, scaled, settings)


def _scaled(matches: CameraMatches, limit: float) -> CameraMatches:
    """In units of the image in which `limit` is the camera's maximum error."""
    scale, camera = limit / matches.max_error_px, matches.camera
    values = {name: scale * getattr(camera, name) for name in ("fx", "fy", "cx", "cy")}
    return replace(
        matches, pixels=matches.pixels * scale, camera=replace(camera, **values), max_error_px=limit
    )


def _best(matches: CameraMatches, settings: PnpSettings) -> CameraMatches:
    rows = best_rows(matches.pixels, matches.points, matches.scores, settings.max_correspondences)
    return replace(matches, pixels=matches.pixels[rows], points=matches.points[rows])


def _starts(matches: Sequence[CameraMatches], settings: PnpSettings) -> list[Array]:
    """Poses of the body (points_from_body), from single cameras and from all."""
    starts = []
    for each in matches:
        points = each.points
        if len(points) < 4 or is_collinear(points - points.mean(axis=0)):
            continue
        ranked = each.scores is not None
        camera_from_points = ransac_pose(each.pixels, points, each.camera, settings, ranked=ranked)
        if camera_from_points is not None:
            starts.append(invert(each.body_from_camera @ camera_from_points))
    several = [each for each in matches if len(each.points)]
    if len(several) > 1 and uses_poselib(settings):
        starts += _generalized(several, settings)
    return starts


def _generalized(matches: Sequence[CameraMatches], settings: PnpSettings) -> list[Array]:
    import poselib

    mounted = []
    for each in matches:
        camera_from_body, pose = invert(each.body_from_camera), poselib.CameraPose()
        pose.R, pose.t = camera_from_body[:3, :3], camera_from_body[:3, 3]
        mounted.append(pose)
    found, info = poselib.estimate_generalized_absolute_pose(
        [each.pixels for each in matches],
        [each.points for each in matches],
        mounted,
        [poselib_camera(each.camera) for each in matches],
        *poselib_options(settings),
    )
    body_from_points = compose(found.R, found.t)
    if info["num_inliers"] < 4 or not np.isfinite(body_from_points).all():
        return []
    # Its solver draws random numbers of its own, which change the last digits from call to call.
    return [rigid(invert(body_from_points).round(6))]


def _evaluate(pose: Array, matches: Sequence[CameraMatches]) -> tuple[NDArray[np.bool_], Array, Array]:
    """Inlier mask, residuals and Jacobian of the matches of all cameras at a pose of the body."""
    parts = []
    for each in matches:
        at, limit = pose @ each.body_from_camera, each.max_error_px
        inliers, residual, jacobian = inliers_at(at, each.pixels, each.points, each.camera, limit)
        parts.append((inliers, residual, jacobian @ lever_jacobian(at[:3, 3] - pose[:3, 3])))
    inliers, residual, jacobian = (np.concatenate(part) for part in zip(*parts, strict=True))
    return inliers, residual, jacobian


def _estimate(pose: Array, matches: Sequence[CameraMatches], settings: PnpSettings) -> RigEstimate | NoPose:
    finite = [_finite(each) for each in matches]
    kept = [
        replace(each, pixels=each.pixels[rows], points=each.points[rows])
        for each, rows in zip(matches, finite, strict=True)
    ]
    inliers, residual, jacobian = _evaluate(pose, kept)
    count = int(inliers.sum())
    if count < settings.min_inliers:
        return NoPose(f"too few inliers ({count})")
    residual, jacobian = residual[inliers], jacobian[inliers]
    covariance = pose_covariance(residual, jacobian, min_sigma_px=settings.min_sigma_px)
    points = np.concatenate([each.points for each in kept])[inliers]
    if covariance is None or is_collinear(points - points.mean(axis=0)):
        return NoPose("degenerate inliers (they do not determine the pose)")
    masks = [np.zeros(len(rows), bool) for rows in finite]
    ends = np.cumsum([len(each.points) for each in kept])[:-1]
    for mask, rows, part in zip(masks, finite, np.split(inliers, ends), strict=True):
        mask[rows] = part
    error = float(np.sqrt((residual**2).sum(axis=1).mean()))
    return RigEstimate(pose, tuple(masks), count, error, covariance)


def _finite(matches: CameraMatches) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(np.hstack([matches.pixels, matches.points])).all(axis=1), np.bool_)
