"""Pose errors of localized images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diff2i2p_core.geometry.covariance import in_sigmas
from diff2i2p_core.geometry.se3 import rotation_error_deg, translation_error
from diff2i2p_core.typing import Array

FALSE_METRES, FALSE_DEGREES = 0.5, 10.0
"""An accepted pose with a larger error than either limit is a false localization."""


@dataclass(frozen=True)
class QueryResult:
    """One query image: the true pose (None if unknown), and the accepted pose or the reason why there is
    none."""

    number: int
    stamp: float
    """Seconds."""
    true_map_from_camera: Array | None
    map_from_camera: Array | None
    reason: str = ""
    num_inliers: int | None = None
    inlier_ratio: float | None = None
    latency_ms: float | None = None
    covariance: Array | None = None
    """(6, 6) covariance of the pose, ROS order."""

    @property
    def translation_error_m(self) -> float | None:
        if self.map_from_camera is None or self.true_map_from_camera is None:
            return None
        return translation_error(self.true_map_from_camera, self.map_from_camera)

    @property
    def rotation_error_deg(self) -> float | None:
        if self.map_from_camera is None or self.true_map_from_camera is None:
            return None
        return rotation_error_deg(self.true_map_from_camera, self.map_from_camera)

    @property
    def error_in_sigmas(self) -> Array | None:
        """(6,) from `geometry.covariance.in_sigmas`. None without a pose, its covariance, or the truth."""
        if self.map_from_camera is None or self.covariance is None or self.true_map_from_camera is None:
            return None
        return in_sigmas(self.map_from_camera, self.covariance, self.true_map_from_camera)

    def within(self, metres: float, degrees: float) -> bool:
        """Whether the image was localized with errors of at most `metres` and `degrees`."""
        translation, rotation = self.translation_error_m, self.rotation_error_deg
        return (
            translation is not None and rotation is not None and translation <= metres and rotation <= degrees
        )

    @property
    def is_false(self) -> bool:
        """Whether the pose was accepted but is wrong."""
        return self.translation_error_m is not None and not self.within(FALSE_METRES, FALSE_DEGREES)

    def as_dict(self) -> dict[str, Any]:
        """The row in the `frames` list of the results; JSON types."""
        sigmas = self.error_in_sigmas
        return {
            "number": self.number,
            "stamp": self.stamp,
            "localized": self.map_from_camera is not None,
            "reason": self.reason,
            "translation_m": self.translation_error_m,
            "rotation_deg": self.rotation_error_deg,
            "error_in_sigmas": None if sigmas is None else sigmas.round(3).tolist(),
            "num_inliers": self.num_inliers,
            "inlier_ratio": self.inlier_ratio,
            "latency_ms": self.latency_ms,
        }
