"""Poses near a prior, from renders that look little like the image, such as those of a lidar's intensity.

Few keypoints of such a render are those of the image. So the render is described on a grid, and keypoints
of the image are matched with the part of it around the same pixel, because the prior predicts where things
are. Matches are as coarse as the cells of the descriptors, so the pose is then aligned. How many of the
matches agree with the aligned pose tells whether it is right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.camera_matches import inliers_at
from diff2i2p_core.geometry.pnp import NoPose, PnpSettings, PoseEstimate, solve_pnp
from diff2i2p_core.geometry.se3 import invert, is_near
from diff2i2p_core.localization.intensity_alignment import IntensityAlignment
from diff2i2p_core.localization.settings import NearSettings
from diff2i2p_core.mapping.describe import GridFeatures
from diff2i2p_core.models.xfeat import Keypoints
from diff2i2p_core.typing import Array


@dataclass(frozen=True)
class NearMatches:
    """Matches of an image with a render, in pixels of the resampled image, and their pose."""

    pixels: Array
    """(M, 2)."""
    points: Array
    """(M, 3) map frame."""
    likeness: Array
    """(M,)."""
    estimate: PoseEstimate | NoPose
    alignment: IntensityAlignment | None = None
    """That gave the pose, if any."""


def search_near(
    keypoints: Keypoints,
    camera: Camera,
    prior: Array,
    settings: NearSettings,
    describe: Callable[[Array], GridFeatures],
    align: Callable[[Array], IntensityAlignment | None] | None = None,
) -> NearMatches:
    """The pose near `prior` (map_from_camera) of an image with these keypoints, and the matches that tell
    whether it is right. `describe` renders the map from a pose, `align` moves a pose."""
    matches = match_near(keypoints, describe(prior), settings.radius)
    pnp = PnpSettings(max_error_px=settings.max_error_px)
    estimate = solve_pnp(matches.pixels, matches.points, camera, matches.likeness, pnp)
    if isinstance(estimate, NoPose):
        return replace(matches, estimate=estimate)
    pose = invert(estimate.camera_from_points)
    aligned = None if align is None else align(pose)
    if align is not None:
        if aligned is None:
            reason = "too little of the map's intensity is visible near the prior"
            return replace(matches, estimate=NoPose(reason))
        pose = aligned.map_from_camera
    if not is_near(pose, prior, settings.max_metres, settings.max_deg):
        limits = f"{settings.max_metres:g} m and {settings.max_deg:g} deg"
        return replace(matches, estimate=NoPose(f"the pose is not within {limits} of the prior"))
    if aligned is None:
        return replace(matches, estimate=estimate)
    of_aligned = _at(matches, camera, pose, aligned.covariance, settings)
    return replace(matches, estimate=of_aligned, alignment=aligned)


def match_near(image: Keypoints, view: GridFeatures, radius: float) -> NearMatches:
    """Keypoints of the image and pixels of the render's grid, at most `radius` pixels apart, each of which is
    the other's most similar one."""
    none = NoPose("no match near the prior")
    likeness = image.descriptors @ view.descriptors.T
    if not likeness.numel():
        return NearMatches(np.empty((0, 2)), np.empty((0, 3)), np.empty(0), none)
    far = torch.cdist(image.pixels, view.pixels) > radius
    likeness = likeness.masked_fill(far, -1.0)
    best, of_keypoint = likeness.max(dim=1)
    mutual = likeness.argmax(dim=0)[of_keypoint] == torch.arange(len(best), device=best.device)
    rows = (mutual & (best > -1)).nonzero()[:, 0]
    pixels, cosines = (values[rows].cpu().numpy().astype(np.float64) for values in (image.pixels, best))
    return NearMatches(pixels, view.points[of_keypoint[rows].cpu().numpy()], cosines, none)


def _at(
    matches: NearMatches, camera: Camera, map_from_camera: Array, covariance: Array, settings: NearSettings
) -> PoseEstimate | NoPose:
    """A pose with its inliers among the matches."""
    limit = settings.max_error_px
    inliers, residual, _ = inliers_at(map_from_camera, matches.pixels, matches.points, camera, limit)
    if not inliers.any():
        return NoPose("no match agrees with the pose")
    error = float(np.sqrt((residual[inliers] ** 2).sum(axis=1).mean()))
    return PoseEstimate(invert(map_from_camera), inliers, int(inliers.sum()), error, covariance)
