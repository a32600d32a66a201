"""Where a body is some time after it was found: by odometry, else by its velocity, else where it was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from diff2i2p_core.geometry.se3 import compose, invert, rotation_error_deg, translation_error
from diff2i2p_core.localization.settings import TrackerSettings
from diff2i2p_core.typing import Array

VELOCITY_GAP_S = 0.5
"""Seconds over which a velocity is measured, and carried on, at most."""


@dataclass(frozen=True)
class Moment:
    """An image's time, and odometry then."""

    stamp_ns: int
    odom_from_body: Array | None
    way: float
    """Metres of odometry since some start, and degrees of turns."""
    turns_deg: float

    def after(self, stamp_ns: int, odom_from_body: Array | None) -> Moment:
        """The next moment, with the way from this one added."""
        way, turns = self.way, self.turns_deg
        if odom_from_body is not None and self.odom_from_body is not None:
            way += translation_error(self.odom_from_body, odom_from_body)
            turns += rotation_error_deg(self.odom_from_body, odom_from_body)
        return Moment(stamp_ns, odom_from_body, way, turns)


@dataclass(frozen=True)
class Fix:
    """The body's pose at a moment, and how far off it may be."""

    moment: Moment
    map_from_body: Array
    metres: float
    degrees: float


@dataclass(frozen=True)
class Prediction:
    """A pose of the body, and how far from it an answer may be."""

    map_from_body: Array
    metres: float
    degrees: float

    def misfit(self, map_from_body: Array) -> str:
        """Why another pose contradicts this one, or ""."""
        metres = translation_error(self.map_from_body, map_from_body)
        degrees = rotation_error_deg(self.map_from_body, map_from_body)
        if metres <= self.metres and degrees <= self.degrees:
            return ""
        return (
            f"jump ({metres:.2f} m and {degrees:.0f} deg from where the camera should be, "
            f"at most {self.metres:.2f} m and {self.degrees:.0f} deg)"
        )


def predict(
    fix: Fix,
    before: Fix | None,
    now: Moment,
    settings: TrackerSettings,
    search_limits: tuple[float, float],
) -> Prediction | None:
    """The body at `now`; None where `fix` says too little about it.

    `before` is the fix before it, for the velocity. With odometry a fix holds until drift may have added
    `search_limits` (metres, degrees), without until the settings' timeout.
    """
    age = (now.stamp_ns - fix.moment.stamp_ns) / 1e9
    if now.odom_from_body is not None and fix.moment.odom_from_body is not None:
        moved = invert(fix.moment.odom_from_body) @ now.odom_from_body
        metres = settings.odometry_drift * (now.way - fix.moment.way)
        degrees = settings.odometry_drift * (now.turns_deg - fix.moment.turns_deg)
        if metres > search_limits[0] or degrees > search_limits[1]:
            return None
        pose = fix.map_from_body @ moved
    else:
        if age > settings.timeout_s:
            return None
        metres, degrees = settings.max_speed * age, settings.max_turn_rate_deg * age
        pose = _carried_on(fix, before, age, settings)
    return Prediction(pose, fix.metres + metres, fix.degrees + degrees)


def _carried_on(fix: Fix, before: Fix | None, age: float, settings: TrackerSettings) -> Array:
    """The pose after `age` seconds at the velocity of two fixes, for no longer than lies between them: so the
    errors of the two are not enlarged."""
    baseline = 0.0 if before is None else (fix.moment.stamp_ns - before.moment.stamp_ns) / 1e9
    if before is None or not 0 < baseline <= VELOCITY_GAP_S:
        return fix.map_from_body
    velocity = (fix.map_from_body[:3, 3] - before.map_from_body[:3, 3]) / baseline
    turned = before.map_from_body[:3, :3].T @ fix.map_from_body[:3, :3]
    turn_rate = Rotation.from_matrix(turned).as_rotvec() / baseline
    ahead = min(age, baseline)
    velocity = _bounded(velocity, settings.max_speed)
    turn_rate = _bounded(turn_rate, float(np.radians(settings.max_turn_rate_deg)))
    rotation = fix.map_from_body[:3, :3] @ Rotation.from_rotvec(turn_rate * ahead).as_matrix()
    return compose(rotation, fix.map_from_body[:3, 3] + velocity * ahead)


def _bounded(vector: Array, limit: float) -> Array:
    return vector * min(1.0, limit / max(float(np.linalg.norm(vector)), 1e-12))
