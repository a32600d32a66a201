"""The answer of the localizer for several cameras on one body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from diff2i2p_core.geometry.covariance import covariance_at
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.localization.result import Localization, summed
from diff2i2p_core.typing import Array


@dataclass(frozen=True)
class RigLocalization:
    localized: bool
    reason: str
    """Why it was not localized (one phrase); "" if it was."""
    map_from_body: Array | None
    """(4, 4); None if not localized."""
    covariance: Array | None
    """(6, 6) of map_from_body, ROS order x y z rotX rotY rotZ about the fixed axes of the map frame."""
    cameras: dict[str, Localization] = field(default_factory=dict)
    """For each camera by name: its pose, which follows from the body's, and its share of the matches. Empty
    if the images were not processed."""
    contributing: tuple[str, ...] = ()
    """The cameras whose matches support the pose. Others see nothing of the map, or nothing that can be
    matched."""
    agreement: float = 0.0
    """As in `Localization`; the best of the cameras."""
    matcher: str = ""
    """The proposer that the pose, or the reason, comes from; "" if the images were not processed."""
    latency_ms: dict[str, float] = field(default_factory=dict)
    """Milliseconds of each stage that ran, by name, for all cameras."""
    warnings: tuple[str, ...] = ()
    """Why the pose may be wrong although it was accepted: what is doubtful about the cameras."""

    @classmethod
    def refused(cls, reason: str) -> RigLocalization:
        """The answer for images that were not processed."""
        return cls(False, reason, None, None)

    def at(self, map_from_body: Array, covariance: Array) -> RigLocalization:
        """This answer with another pose, and so other ones of its cameras."""
        assert self.map_from_body is not None
        moved, cameras = map_from_body @ invert(self.map_from_body), {}
        for name, answer in self.cameras.items():
            if answer.map_from_camera is not None:
                pose = moved @ answer.map_from_camera
                of_camera = covariance_at(covariance, pose[:3, 3] - map_from_body[:3, 3])
                answer = answer.at(pose, of_camera)
            cameras[name] = answer
        return replace(self, map_from_body=map_from_body, covariance=covariance, cameras=cameras)

    def after(self, spent: Mapping[str, float]) -> RigLocalization:
        """As `Localization.after`."""
        return replace(self, latency_ms=summed(spent, self.latency_ms))

    def without_pose(self, reason: str) -> RigLocalization:
        """This answer with its pose rejected."""
        cameras = {name: answer.without_pose(reason) for name, answer in self.cameras.items()}
        return replace(
            self, localized=False, reason=reason, map_from_body=None, covariance=None, cameras=cameras
        )

    @property
    def num_correspondences(self) -> int:
        """Of all cameras."""
        return sum(answer.num_correspondences for answer in self.cameras.values())

    @property
    def num_inliers(self) -> int:
        """Of all cameras."""
        return sum(answer.num_inliers for answer in self.cameras.values())

    def as_dict(self) -> dict[str, Any]:
        """The JSON object of this answer."""
        return {
            "localized": self.localized,
            "reason": self.reason,
            "map_from_body": None if self.map_from_body is None else self.map_from_body.tolist(),
            "covariance": None if self.covariance is None else self.covariance.tolist(),
            "num_correspondences": self.num_correspondences,
            "num_inliers": self.num_inliers,
            "agreement": round(self.agreement, 3),
            "matcher": self.matcher,
            "contributing": list(self.contributing),
            "cameras": {name: answer.as_dict() for name, answer in self.cameras.items()},
            "latency_ms": {name: round(value, 1) for name, value in self.latency_ms.items()},
            "warnings": list(self.warnings),
        }
