"""Verification by depth: decides on poses that were registered to the map, and refines those of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from diff2i2p_core.geometry.covariance import fused, squared_distance
from diff2i2p_core.geometry.pnp import PoseEstimate
from diff2i2p_core.geometry.se3 import is_near, translation_error
from diff2i2p_core.localization.depth_registration import DepthFit, Fit
from diff2i2p_core.localization.gates import is_same_pose
from diff2i2p_core.localization.hypothesis import Hypothesis
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.ranking import is_alone
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.localization.settings import DepthSettings, LocalizerSettings
from diff2i2p_core.typing import Array

_PROPOSED = 3
"""Poses of the image's matches that depth may confirm."""
_CONTRADICTING = 22.5
"""Squared Mahalanobis distance of two poses that one of 1,000 pairs exceeds."""
_FAR_METRES, _FAR_DEG = 1.0, 30.0
"""A registration that ends farther from its prior has gone to another place."""


def misfit(fit: DepthFit, settings: DepthSettings, *, slides: bool = False) -> str:
    """Why a registered pose is not accepted, or "". It may slide along the map if it `slides`: something else
    says where it is."""
    comparison = fit.comparison
    if comparison.known < settings.min_known:
        return f"little map behind the depth ({comparison.known:.2f} of it, need {settings.min_known:.2f})"
    if comparison.agreement < settings.min_agreement:
        return (
            f"the depth contradicts the map (agreement {comparison.agreement:.2f}, "
            f"need {settings.min_agreement:.2f})"
        )
    weak = fit.weakest < settings.weak and not slides
    closeness = settings.min_weak_closeness if weak else settings.min_closeness
    if fit.closeness < closeness:
        return f"the depth is not close to the map ({fit.closeness:.2f}, need {closeness:.2f})"
    if fit.weakest < settings.min_weakest and not slides:
        return "ambiguous (the depth can slide along the map, as in a corridor)"
    return ""


def with_slid(fits: list[DepthFit], fit: Fit, settings: DepthSettings) -> list[DepthFit]:
    """The fits, and where the best one is fixed weakly in one direction, those from starts in this direction.
    One of these may be better, or show that the depth does not tell them apart."""
    best = max(fits, key=lambda found: found.quality, default=None)
    if best is None or not settings.min_weakest < best.weakest < settings.firm:
        return fits
    return fits + [fit(best.slid(metres)) for metres in settings.slides]


def answer_by_fit(hypotheses: Sequence[Hypothesis], query: Query) -> Localization:
    """The best registered pose, if it fits and no other place fits nearly as well."""
    settings = query.settings
    fits = {id(h): h.fit for h in hypotheses if h.fit is not None}
    best = max(hypotheses, key=lambda hypothesis: fits[id(hypothesis)].quality)
    fit, count = fits[id(best)], best.support
    reason = misfit(fit, settings.depth)
    if not reason:
        reason = _unclear(fit, list(fits.values()), settings.depth)
    if not reason and best.near_prior:
        reason = _far(fit, query.prior)
    if not reason and not best.near_prior:
        reason = _rival(fit, list(fits.values()), settings)
    accepted = Localization(
        localized=True,
        reason="",
        map_from_camera=fit.map_from_camera,
        covariance=_calibrated(fit, settings),
        num_correspondences=len(best.pixels),
        num_inliers=count,
        inlier_ratio=count / max(len(best.pixels), 1),
        reprojection_error_px=getattr(best.estimate, "reprojection_error_px", 0.0),
        depth_agreement=fit.comparison.agreement,
        matcher=best.matcher,
        submap=-1,
        inlier_pixels=best.pixels[fit.matched],
        inlier_points=best.points[fit.matched],
    )
    return accepted.without_pose(reason) if reason else accepted


def refined(answer: Localization, ranked: Sequence[Hypothesis], query: Query, fit: Fit) -> Localization:
    """The answer from an image's matches, combined with the depth's where that fits.

    A pose that the depth clearly contradicts is refused. Poses without enough matches are accepted if the
    depth confirms one of them alone.
    """
    settings = query.settings
    if answer.map_from_camera is not None:
        found = fit(answer.map_from_camera)
        seen = found.comparison
        if not misfit(found, settings.depth):
            both = _combined(answer, found, settings)
            if both is not None:
                return both
            of_shapes = ranked[0].agreement is not None  # matches of shapes are less exact than depth
            return _by_depth(answer, found, settings) if of_shapes else answer
        if seen.known > settings.depth.min_known and seen.agreement < settings.depth.contradiction:
            return answer.without_pose(f"the depth contradicts the map (agreement {seen.agreement:.2f})")
        return answer
    together = _together(answer, ranked, fit, settings)
    if together is not None:
        return together
    starts = [h.map_from_camera for h in ranked if h.map_from_camera is not None]
    fits = with_slid([fit(start) for start in starts[:_PROPOSED]], fit, settings.depth)
    best = max(fits, key=lambda found: found.quality, default=None)
    if best is None or misfit(best, settings.depth):
        return answer
    if _unclear(best, fits, settings.depth) or _rival(best, fits, settings):
        return answer
    return _by_depth(answer, best, settings)


def _by_depth(answer: Localization, fit: DepthFit, settings: LocalizerSettings) -> Localization:
    """The answer with the pose of the depth."""
    return replace(
        answer,
        localized=True,
        reason="",
        map_from_camera=fit.map_from_camera,
        covariance=_calibrated(fit, settings),
        depth_agreement=fit.comparison.agreement,
    )


def _together(
    answer: Localization, ranked: Sequence[Hypothesis], fit: Fit, settings: LocalizerSettings
) -> Localization | None:
    """The answer if image and depth, neither of which is enough, agree on the best of the poses: its matches
    are compared with the image and support no other, and the depth fits it, but perhaps slides."""
    best, pose = ranked[0], ranked[0].map_from_camera
    if pose is None or best.agreement is None or best.strength < settings.depth.together_strength:
        return None
    if not is_alone(ranked, settings.gates, settings.depth.together_rival):
        return None
    found = fit(pose)
    if misfit(found, settings.depth, slides=True):
        return None
    assert isinstance(best.estimate, PoseEstimate)
    covariance = best.estimate.covariance * settings.views.sigma_scale**2
    seen = replace(answer, localized=True, reason="", map_from_camera=pose, covariance=covariance)
    return _combined(seen, found, settings)


def _combined(answer: Localization, fit: DepthFit, settings: LocalizerSettings) -> Localization | None:
    """The mean of both poses, weighted by their covariances: depth of a wall fixes its distance, but not the
    position along it. None if they contradict each other."""
    pose, covariance = answer.map_from_camera, answer.covariance
    assert pose is not None and covariance is not None
    by_depth = _calibrated(fit, settings)
    if squared_distance(fit.map_from_camera, pose, covariance + by_depth) > _CONTRADICTING:
        return None
    mean, combined = fused([(pose, covariance), (fit.map_from_camera, by_depth)])
    return replace(
        answer,
        map_from_camera=mean,
        covariance=combined,
        depth_agreement=fit.comparison.agreement,
    )


def _unclear(best: DepthFit, fits: Sequence[DepthFit], settings: DepthSettings) -> str:
    """Why a pose is ambiguous: one nearby fits as well; else ""."""
    limits = settings.unclear_distance, settings.unclear_angle_deg
    for other in fits:
        if other.quality > settings.unclear_quality * best.quality and not is_near(
            other.map_from_camera, best.map_from_camera, *limits
        ):
            return "ambiguous (the depth can slide along the map)"
    return ""


def _far(fit: DepthFit, prior: Array | None) -> str:
    """Why a pose does not belong to the prior that it was registered from; else ""."""
    if prior is None or is_near(fit.map_from_camera, prior, _FAR_METRES, _FAR_DEG):
        return ""
    return f"the depth fits only {translation_error(fit.map_from_camera, prior):.1f} m from the prior"


def _rival(best: DepthFit, fits: Sequence[DepthFit], settings: LocalizerSettings) -> str:
    """Why a pose is ambiguous: another one fits nearly as well; else ""."""
    for other in fits:
        if (
            not is_same_pose(other.map_from_camera, best.map_from_camera, settings.gates)
            and other.quality > settings.depth.max_rival_quality * best.quality
            and other.comparison.agreement > settings.depth.rival_agreement
        ):
            return f"ambiguous (the depth fits another place as well, {other.comparison.agreement:.2f})"
    return ""


def _calibrated(fit: DepthFit, settings: LocalizerSettings) -> Array:
    covariance: Array = fit.covariance * settings.depth.sigma_scale**2
    return covariance
