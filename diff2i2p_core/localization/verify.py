"""Verification: selects one answer from hypotheses, by the map's colours and by their inliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from diff2i2p_core.geometry.camera_matches import inliers_at
from diff2i2p_core.geometry.pnp import NoPose, PoseEstimate
from diff2i2p_core.localization.aligner import Align
from diff2i2p_core.localization.alignment import Alignment
from diff2i2p_core.localization.depth_registration import Fit
from diff2i2p_core.localization.depth_verification import answer_by_fit, refined
from diff2i2p_core.localization.edge_alignment import EdgeAlign
from diff2i2p_core.localization.gates import (
    coverage,
    disagreement,
    doubtful,
    is_same_pose,
    rejection,
    rivals,
    weak,
)
from diff2i2p_core.localization.hypothesis import Hypothesis
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.ranking import by_strength, is_alone
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.localization.settings import GateSettings, LocalizerSettings
from diff2i2p_core.typing import Array


def verify(
    query: Query,
    hypotheses: Sequence[Hypothesis],
    align: Align | None = None,
    fit: Fit | None = None,
    edges: EdgeAlign | None = None,
    *,
    searched: bool = False,
) -> Localization:
    """The settled pose that passes the gates, else the pose that the map's colours confirm, else the one with
    the most inliers if it passes the gates.

    Hypotheses near a prior have no rivals, and a pose that agrees with the prior needs no spread of inliers.
    A doubted pose gives way to the same one from another search that is not doubted.
    There must be at least one hypothesis. `searched`: these are all that the proposer has, so that a pose may
    be accepted because it stands alone. `edges` makes accepted poses in maps of shapes more exact. If the
    query has depth, `fit` registers it: that refines and confirms poses in maps of all kinds, and alone
    decides on poses that come from depth.
    """
    if all(hypothesis.fit is not None for hypothesis in hypotheses):
        return replace(answer_by_fit(hypotheses, query), latency_ms=dict(query.clock.ms))
    ranked = by_strength(hypotheses, query.settings.gates)
    prior = query.prior if all(hypothesis.near_prior for hypothesis in hypotheses) else None
    answer = _by_inliers(ranked, query, prior, searched)
    query.clock.spent("pose")
    if align is not None and not (answer.localized and ranked[0].settled):
        confirmed = _confirmed(ranked, query.settings, prior, align)
        if confirmed is not None:
            reason = "" if prior is not None else _second_place(confirmed, ranked, query.settings, align)
            answer = _aligned(confirmed, reason, ranked[0], query)
        query.clock.spent("align")
    if edges is not None and answer.map_from_camera is not None and answer.covariance is not None:
        pose, covariance = edges(answer.map_from_camera, answer.covariance)
        answer = replace(answer, map_from_camera=pose, covariance=covariance)
        query.clock.spent("edges")
    if fit is not None:
        answer = refined(answer, ranked, query, fit)
        query.clock.spent("depth")
    return replace(answer, latency_ms=dict(query.clock.ms))


def _by_inliers(
    ranked: Sequence[Hypothesis], query: Query, prior: Array | None, searched: bool
) -> Localization:
    best, camera = ranked[0], query.camera
    pose = best.map_from_camera
    agrees = prior is not None and pose is not None and is_same_pose(prior, pose, query.settings.gates)
    most = query.settings.views.alone_rival
    alone = searched and prior is None and is_alone(ranked, query.settings.gates, most)
    gates = gates_for(
        query.settings,
        settled=best.settled,
        guided=best.guided,
        near=agrees,
        agreement=best.agreement,
        alone=alone,
    )
    estimate, count = best.estimate, len(best.pixels)
    if isinstance(estimate, NoPose):
        few = count < gates.min_correspondences
        reason = rejection(count, 0, 0.0, 0.0, gates) if few else ""
        refused = Localization.refused(reason or estimate.reason)
        return replace(refused, num_correspondences=count, matcher=best.matcher)
    spread = coverage(best.pixels[estimate.inliers], camera.width, camera.height)
    reason = rejection(
        count,
        estimate.num_inliers,
        estimate.reprojection_error_px,
        1.0 if agrees else spread,
        gates,
        pixel_scale=camera.width / 640,
    )
    if not reason and best.settled and best.agreement is not None:
        reason = doubtful(best.agreement, query.settings.views, agrees=agrees, alone=alone)
    if not reason and best.votes is not None:
        reason = weak(best.standing * spread, query.settings.views.min_evidence)
    if not reason and best.alignment is not None:
        reason = disagreement(best.alignment, query.settings.near)
    covariance = _covariance(best, estimate, query.settings)
    if not reason and best.settled and not agrees:
        reason = unsure(best.doubt, covariance, query.settings.views.max_sigma)
    if not reason and prior is None:
        reason = _rival(ranked, gates)
    return Localization(
        localized=not reason,
        reason=reason,
        map_from_camera=None if reason else pose,
        covariance=None if reason else covariance,
        num_correspondences=count,
        num_inliers=estimate.num_inliers,
        inlier_ratio=estimate.num_inliers / count,
        reprojection_error_px=estimate.reprojection_error_px,
        agreement=best.alignment.agreement if best.alignment is not None else best.agreement or 0.0,
        matcher=best.matcher,
        submap=-1 if reason else best.submap,
        inlier_pixels=best.pixels[estimate.inliers],
        inlier_points=best.points[estimate.inliers],
    )


def gates_for(
    settings: LocalizerSettings,
    *,
    settled: bool,
    guided: bool = False,
    near: bool = False,
    agreement: float | None = None,
    alone: bool = False,
) -> GateSettings:
    """The requirements on a hypothesis's inliers. Matches made from about the pose itself (`settled`) need no
    spread: parts of the image without map cannot be matched. Nor do those searched for near a prior
    (`guided`). Settled poses `near` a prior that agrees may have limits of their own, and so have those whose
    `agreement` with the image is known, and among these the ones that stand `alone`."""
    if not settled and not guided:
        return settings.gates
    views = settings.views
    if guided:
        least = settings.near.min_inliers
        return replace(
            settings.gates,
            min_correspondences=least,
            min_inliers=least,
            min_inlier_ratio=settings.near.min_inlier_ratio,
            min_coverage=views.min_coverage,
        )
    if agreement is not None and (not near or agreement >= views.near_agreement):
        spread = views.agreed_spread / max(agreement, views.min_agreement)
        return replace(
            settings.gates,
            min_correspondences=views.agreed_inliers,
            min_inliers=views.agreed_inliers,
            min_inlier_ratio=views.near_inlier_ratio if near else 0.0,
            min_coverage=views.alone_coverage if alone else max(views.agreed_coverage, spread),
        )
    least = views.near_inliers if near else views.min_inliers
    return replace(
        settings.gates,
        min_correspondences=least,
        min_inliers=least,
        min_inlier_ratio=views.near_inlier_ratio if near else views.min_inlier_ratio,
        min_coverage=views.min_coverage,
    )


def unsure(doubt: str, covariance: Array, max_sigma: float) -> str:
    """Why a settled pose is too uncertain, or ""."""
    if doubt:
        return doubt
    sigma = float(np.sqrt(np.trace(covariance[:3, :3])))
    return f"uncertain (standard deviation {sigma:.2f} m, at most {max_sigma})" if sigma > max_sigma else ""


def _covariance(best: Hypothesis, estimate: PoseEstimate, settings: LocalizerSettings) -> Array:
    """(6, 6), scaled to measured errors."""
    if best.alignment is not None:
        return np.asarray(estimate.covariance * settings.near.sigma_scale**2)
    per_inlier = len(best.pixels) / estimate.num_inliers
    return calibrated(estimate.covariance, per_inlier, settings, settled=best.settled)


def calibrated(
    covariance: Array, matches_per_inlier: float, settings: LocalizerSettings, *, settled: bool
) -> Array:
    """The covariance (6, 6) of PnP, scaled to measured errors."""
    if settled:
        return covariance * settings.views.sigma_scale**2
    scale = settings.sigma_scale * matches_per_inlier**settings.sigma_exponent
    scaled: Array = covariance * scale**2
    return scaled


def _rival(ranked: Sequence[Hypothesis], gates: GateSettings) -> str:
    """Why the pose with the most inliers is ambiguous: another place supports another pose; else ""."""
    pose = ranked[0].map_from_camera
    assert pose is not None
    for other in rivals(pose, ranked[0].strength, ranked, gates):
        return f"ambiguous ({other.source} has {other.support} inliers for another pose)"
    return ""


def _confirmed(
    ranked: Sequence[Hypothesis], settings: LocalizerSettings, prior: Array | None, align: Align
) -> Alignment | None:
    """The first alignment, most likely start first, after which the colours of map and image agree."""
    starts = [] if prior is None else [prior]
    starts += [h.map_from_camera for h in ranked if h.map_from_camera is not None]
    for start in starts:
        alignment = align(start)
        if alignment is not None and agrees_with_colors(alignment, settings.gates):
            return alignment
    return None


def agrees_with_colors(alignment: Alignment, gates: GateSettings) -> bool:
    """Whether the colours of map and image confirm the aligned pose."""
    return alignment.agreement >= gates.min_agreement and alignment.coverage >= gates.min_compared


def _second_place(
    confirmed: Alignment, ranked: Sequence[Hypothesis], settings: LocalizerSettings, align: Align
) -> str:
    """Why a confirmed pose is ambiguous: the colours confirm another place as well. "" if they do not."""
    gates = settings.gates
    for other in rivals(confirmed.map_from_camera, ranked[0].strength, ranked, gates):
        assert other.map_from_camera is not None
        alignment = align(other.map_from_camera)
        if alignment is None or not agrees_with_colors(alignment, gates):
            continue
        if not is_same_pose(alignment.map_from_camera, confirmed.map_from_camera, gates):
            return f"ambiguous (the map looks like the image near {other.source} as well)"
    return ""


def _aligned(confirmed: Alignment, reason: str, best: Hypothesis, query: Query) -> Localization:
    """The answer for a confirmed pose, with the inliers of the matches with the most support."""
    pose, settings = confirmed.map_from_camera, query.settings
    limit = settings.inlier_px(query.camera)
    inliers, residual, _ = inliers_at(pose, best.pixels, best.points, query.camera, limit)
    squared = (residual[inliers] ** 2).sum(axis=1)
    count, num_inliers = len(best.pixels), int(inliers.sum())
    return Localization(
        localized=not reason,
        reason=reason,
        map_from_camera=None if reason else pose,
        covariance=None if reason else confirmed.covariance * settings.aligned_sigma_scale**2,
        num_correspondences=count,
        num_inliers=num_inliers,
        inlier_ratio=num_inliers / max(count, 1),
        reprojection_error_px=float(np.sqrt(squared.mean())) if num_inliers else 0.0,
        agreement=confirmed.agreement,
        matcher=best.matcher,
        submap=-1 if reason else best.submap,
        inlier_pixels=best.pixels[inliers],
        inlier_points=best.points[inliers],
    )
