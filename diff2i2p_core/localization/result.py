"""The answer of the localizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from diff2i2p_core.typing import Array


@dataclass(frozen=True)
class Localization:
    localized: bool
    reason: str
    """Why it was not localized (one phrase); "" if it was."""
    map_from_camera: Array | None
    """(4, 4); None if not localized."""
    covariance: Array | None
    """(6, 6), ROS order x y z rotX rotY rotZ about the fixed axes of the map frame."""
    num_correspondences: int
    num_inliers: int
    inlier_ratio: float
    reprojection_error_px: float
    """Root mean square over the inliers; 0 without inliers."""
    submap: int
    """The submap that the pose comes from; -1 if none, as near a prior."""
    inlier_pixels: Array
    """(K, 2) (u, v) in the given image (rectified, if its camera has distortion)."""
    inlier_points: Array
    """(K, 3) map frame."""
    agreement: float = 0.0
    """Correlation of the coloured map, drawn from the pose, with the image; of a map with intensity, the
    fraction of its patches that agree; of a map of shapes, that of its features that are found as predicted.
    0 if they were not compared, or do not agree enough to confirm the pose."""
    depth_agreement: float = 0.0
    """The fraction of the query's depth that agrees with the map at the pose, of that with map. 0 without
    depth, or if it does not confirm the pose."""
    matcher: str = ""
    """The proposer that the pose, or the reason, comes from; "" if the image was not processed."""
    latency_ms: dict[str, float] = field(default_factory=dict)
    """Milliseconds of each stage that ran, by name."""
    warnings: tuple[str, ...] = ()
    """Why the pose may be wrong although it was accepted: what is doubtful about the camera."""

    @classmethod
    def refused(cls, reason: str) -> Localization:
        """The answer for an image that was not processed."""
        return cls(False, reason, None, None, 0, 0, 0.0, 0.0, -1, np.empty((0, 2)), np.empty((0, 3)))

    def at(self, map_from_camera: Array, covariance: Array) -> Localization:
        """This answer with another pose."""
        return replace(self, map_from_camera=map_from_camera, covariance=covariance)

    def after(self, spent: Mapping[str, float]) -> Localization:
        """This answer, with the time of a search before it, in milliseconds of each stage."""
        return replace(self, latency_ms=summed(spent, self.latency_ms))

    def without_pose(self, reason: str) -> Localization:
        """This answer with its pose rejected."""
        return replace(self, localized=False, reason=reason, map_from_camera=None, covariance=None, submap=-1)

    def as_dict(self) -> dict[str, Any]:
        """The JSON object of this answer."""
        return {
            "localized": self.localized,
            "reason": self.reason,
            "map_from_camera": None if self.map_from_camera is None else self.map_from_camera.tolist(),
            "covariance": None if self.covariance is None else self.covariance.tolist(),
            "num_correspondences": self.num_correspondences,
            "num_inliers": self.num_inliers,
            "inlier_ratio": round(self.inlier_ratio, 4),
            "reprojection_error_px": round(self.reprojection_error_px, 3),
            "agreement": round(self.agreement, 3),
            "depth_agreement": round(self.depth_agreement, 3),
            "matcher": self.matcher,
            "submap": self.submap,
            "latency_ms": {name: round(value, 1) for name, value in self.latency_ms.items()},
            "warnings": list(self.warnings),
        }


def summed(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """The milliseconds of each stage in two searches of an image."""
    return {name: before.get(name, 0.0) + after.get(name, 0.0) for name in {**before, **after}}
