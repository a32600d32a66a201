"""Predicts a body's pose after its last fix: by odometry, else by its velocity, else unchanged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from diff2i2p_core.geometry.covariance import covariance_at
from diff2i2p_core.geometry.se3 import compose, invert, rotation_error_deg, translation_error
from diff2i2p_core.localization.settings import TrackerSettings
from diff2i2p_core.typing import Array

VELOCITY_GAP_S = 0.5
"""Maximum seconds over which a velocity is measured and extrapolated."""
_LEAST_METRES, _LEAST_DEG = 0.005, 0.2
"""Drift from image to image even without motion (metres, degrees), so that new poses always count."""


@dataclass(frozen=True)
class Moment:
    """The time of an image, and the odometry at that time."""

    stamp_ns: int
    odom_from_body: Array | None
    way: float
    """Metres travelled since the start by odometry, and degrees turned."""
    turns_deg: float

    def after(self, stamp_ns: int, odom_from_body: Array | None) -> Moment:
        """The next moment, with the motion since this one added."""
        way, turns = self.way, self.turns_deg
        if odom_from_body is not None and self.odom_from_body is not None:
            way += translation_error(self.odom_from_body, odom_from_body)
            turns += rotation_error_deg(self.odom_from_body, odom_from_body)
        return Moment(stamp_ns, odom_from_body, way, turns)


@dataclass(frozen=True)
class Fix:
    """The body's pose at a moment, and its possible error."""

    moment: Moment
    map_from_body: Array
    metres: float
    degrees: float
    covariance: Array | None = None
    """(6, 6) of the pose, ROS order, if it is known."""


@dataclass(frozen=True)
class Prediction:
    """A predicted pose of the body, and how far an answer may be from it."""

    map_from_body: Array
    metres: float
    degrees: float
    covariance: Array | None = None
    """(6, 6) of the pose, if odometry predicts it from a fix whose covariance is known."""

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
    """The body at `now`. None if `fix` is too old to predict it.

    `before` is the previous fix, for the velocity. With odometry, a fix is used until drift may have reached
    `search_limits` (metres, degrees); without, until the settings' timeout.
    """
    age = (now.stamp_ns - fix.moment.stamp_ns) / 1e9
    if now.odom_from_body is not None and fix.moment.odom_from_body is not None:
        moved = invert(fix.moment.odom_from_body) @ now.odom_from_body
        metres = settings.odometry_drift * (now.way - fix.moment.way)
        degrees = settings.odometry_drift * (now.turns_deg - fix.moment.turns_deg)
        if metres > search_limits[0] or degrees > search_limits[1]:
            return None
        pose = fix.map_from_body @ moved
        covariance = _grown(fix, pose, metres, degrees)
        return Prediction(pose, fix.metres + metres, fix.degrees + degrees, covariance)
    if age > settings.timeout_s:
        return None
    metres, degrees = settings.max_speed * age, settings.max_turn_rate_deg * age
    pose = _carried_on(fix, before, age, settings)
    return Prediction(pose, fix.metres + metres, fix.degrees + degrees)


def _grown(fix: Fix, pose: Array, metres: float, degrees: float) -> Array | None:
    """The covariance of a fix, carried to `pose` by odometry that drifts by `metres` and `degrees` at most:
    three standard deviations."""
    if fix.covariance is None:
        return None
    sigmas = [metres + _LEAST_METRES] * 3 + [np.radians(degrees + _LEAST_DEG)] * 3
    carried = covariance_at(fix.covariance, pose[:3, 3] - fix.map_from_body[:3, 3])
    return np.asarray(carried + np.diag(np.square(sigmas)))


def _carried_on(fix: Fix, before: Fix | None, age: float, settings: TrackerSettings) -> Array:
    """The pose after `age` seconds at the velocity between two fixes. It is extrapolated for at most the time
    between them, so that their errors are not amplified."""
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
