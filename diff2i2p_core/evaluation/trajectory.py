"""Pose errors of localized images and the summary of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diff2i2p_core.geometry.covariance import in_sigmas
from diff2i2p_core.geometry.se3 import rotation_error_deg, translation_error
from diff2i2p_core.typing import Array

RECALL_LIMITS = (
    ("recall_005m_5deg", 0.05, 5.0),
    ("recall_010m_5deg", 0.10, 5.0),
    ("recall_025m_10deg", 0.25, 10.0),
)
"""Name, metres, degrees."""

FALSE_METRES, FALSE_DEGREES = 0.5, 10.0
"""An accepted pose farther off than either is a false localization."""


@dataclass(frozen=True)
class QueryResult:
    """One query image: the true pose (None where nothing is known of it), and the accepted one or the reason
    why there is none."""

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
    """(6, 6) of the pose, ROS order."""

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
        """(6,) of `geometry.covariance.in_sigmas`; None without a pose, its covariance, or the truth."""
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
        """Accepted, but wrong."""
        return self.translation_error_m is not None and not self.within(FALSE_METRES, FALSE_DEGREES)

    def as_dict(self) -> dict[str, Any]:
        """The row of the summary's `frames` list; JSON types."""
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


def summarize(results: Sequence[QueryResult]) -> dict[str, Any]:
    """Counts, medians over the localized images (None without any), recalls over all images, latencies."""
    localized = [r for r in results if r.map_from_camera is not None]
    latencies = [r.latency_ms for r in results if r.latency_ms is not None]
    summary: dict[str, Any] = {
        "queries": len(results),
        "localized": len(localized),
        "median_translation_m": percentile([r.translation_error_m for r in localized], 50),
        "median_rotation_deg": percentile([r.rotation_error_deg for r in localized], 50),
    }
    for name, metres, degrees in RECALL_LIMITS:
        summary[name] = sum(r.within(metres, degrees) for r in results) / max(len(results), 1)
    summary["false_localizations"] = sum(r.is_false for r in results)
    summary["covariance"] = consistency(localized)
    summary["latency_ms"] = {"median": percentile(latencies, 50), "p95": percentile(latencies, 95)}
    return summary


def consistency(localized: Sequence[QueryResult]) -> dict[str, Any] | None:
    """How well reported standard deviations foretell the errors of poses that are not false.

    Shares of the errors' components within one and two standard deviations (honest ones: 0.68 and 0.95), for
    positions and rotations, and the factor on the deviations that would make the first 0.68. None where
    there is no pose, or none with a covariance.
    """
    errors = [r.error_in_sigmas for r in localized if not r.is_false]
    known = np.abs([error for error in errors if error is not None]).reshape(-1, 2, 3)
    if not len(known):
        return None
    shares: dict[str, Any] = {"poses": len(known)}
    for name, part in (("position", known[:, 0]), ("rotation", known[:, 1])):
        shares[name] = {
            "within_1_sigma": float((part <= 1).mean()),
            "within_2_sigma": float((part <= 2).mean()),
            "factor_to_068": float(np.quantile(part, 0.6827)),
        }
    return shares


def percentile(values: Sequence[float | None], percent: float) -> float | None:
    """None of no values."""
    return float(np.percentile(np.asarray(values, float), percent)) if len(values) else None
