"""The settings of localizer and tracker that the parameters stand for."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from diff2i2p.parameters import LOCALIZER, TRACKER, Parameters
from diff2i2p_core.localization.settings import LocalizerSettings, Precision, TrackerSettings


def localizer_settings(p: Parameters) -> LocalizerSettings:
    gates = replace(
        LOCALIZER.gates,
        min_inliers=p.min_inliers,
        min_inlier_ratio=p.min_inlier_ratio,
        max_reprojection_error_px=p.max_reprojection_error_px,
        min_agreement=p.min_agreement,
    )
    return replace(
        LOCALIZER,
        candidates=p.candidates,
        align=p.align,
        precision=cast(Precision, p.precision),
        prior_distance=p.prior_distance,
        prior_angle_deg=p.prior_angle_deg,
        gates=gates,
        views=replace(LOCALIZER.views, min_inliers=p.min_inliers),
    )


def tracker_settings(p: Parameters) -> TrackerSettings:
    return replace(
        TRACKER,
        use_prior=p.use_prior,
        timeout_s=p.prior_timeout,
        jump_distance=p.jump_distance,
        jump_angle_deg=p.jump_angle_deg,
        max_speed=p.max_speed,
        max_turn_rate_deg=p.max_turn_rate_deg,
        odometry_drift=p.odometry_drift,
        map_margin=p.map_margin,
        max_age_s=p.max_image_age,
    )
