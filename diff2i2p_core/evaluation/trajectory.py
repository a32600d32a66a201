"""Pose errors of localized images and the summary of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diff2i2p_core.geometry.se3 import Array, rotation_error_deg, translation_error

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
    """One query image: the true pose, and the accepted one or the reason why there is none."""

    number: int
    stamp: float
    """Seconds."""
    true_map_from_camera: Array
    map_from_camera: Array | None
    reason: str = ""
    num_inliers: int | None = None
    inlier_ratio: float | None = None
    latency_ms: float | None = None

    @property
    def translation_error_m(self) -> float | None:
        if self.map_from_camera is None:
            return None
        return translation_error(self.true_map_from_camera, self.map_from_camera)

    @property
    def rotation_error_deg(self) -> float | None:
        if self.map_from_camera is None:
            return None
        return rotation_error_deg(self.true_map_from_camera, self.map_from_camera)

    def within(self, metres: float, degrees: float) -> bool:
        """Whether the image was localized with errors of at most `metres` and `degrees`."""
        translation, rotation = self.translation_error_m, self.rotation_error_deg
        return (
            translation is not None and rotation is not None and translation <= metres and rotation <= degrees
        )

    @property
    def is_false(self) -> bool:
        """Accepted, but wrong."""
        return self.map_from_camera is not None and not self.within(FALSE_METRES, FALSE_DEGREES)

    def as_dict(self) -> dict[str, Any]:
        """The row of the summary's `frames` list; JSON types."""
        return {
            "number": self.number,
            "stamp": self.stamp,
            "localized": self.map_from_camera is not None,
            "reason": self.reason,
            "translation_m": self.translation_error_m,
            "rotation_deg": self.rotation_error_deg,
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
        "median_translation_m": _percentile([r.translation_error_m for r in localized], 50),
        "median_rotation_deg": _percentile([r.rotation_error_deg for r in localized], 50),
    }
    for name, metres, degrees in RECALL_LIMITS:
        summary[name] = sum(r.within(metres, degrees) for r in results) / max(len(results), 1)
    summary["false_localizations"] = sum(r.is_false for r in results)
    summary["latency_ms"] = {"median": _percentile(latencies, 50), "p95": _percentile(latencies, 95)}
    return summary


def _percentile(values: Sequence[float | None], percent: float) -> float | None:
    return float(np.percentile(np.asarray(values, float), percent)) if len(values) else None
