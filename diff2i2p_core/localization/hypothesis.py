"""Possible poses of an image, and the interface of their proposers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from diff2i2p_core.geometry.pnp import NoPose, PoseEstimate
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.localization.depth_registration import DepthFit
from diff2i2p_core.localization.intensity_alignment import IntensityAlignment
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.votes import Votes
from diff2i2p_core.typing import Array


@dataclass(frozen=True)
class Hypothesis:
    """Matches of an image with a part of the map, and the pose on which they agree, if any."""

    matcher: str
    """The proposer's name."""
    source: str
    """The part of the map, in words: "submap 3"."""
    pixels: Array
    """(C, 2) in the rectified image."""
    points: Array
    """(C, 3) map frame."""
    estimate: PoseEstimate | NoPose
    submap: int = -1
    """Index of the map's view that was matched; -1 for none."""
    near_prior: bool = False
    """Whether only the surroundings of the query's prior were searched."""
    guided: bool = False
    """Whether each pixel was matched only around where the prior predicts it (`near_matches`)."""
    alignment: IntensityAlignment | None = None
    """How the image agrees with the map's intensity, if they were compared."""
    settled: bool = False
    """Whether the matches were made from about this pose. Then many inliers are enough to accept it."""
    doubt: str = ""
    """Why the pose is not trusted, however many inliers it has, or ""."""
    agreement: float | None = None
    """The fraction of the features of the map that are found where the pose predicts them
    (`local_agreement`), if that was compared."""
    votes: Votes | None = None
    """Those of the views that were matched, if they count."""
    fit: DepthFit | None = None
    """For a pose of the depth alone: how it fits. It decides instead of the inliers."""

    @property
    def support(self) -> int:
        """Number of inliers of the pose; 0 without one."""
        return self.estimate.num_inliers if isinstance(self.estimate, PoseEstimate) else 0

    @property
    def strength(self) -> float:
        """The support, less if the image does not agree with it. Orders hypotheses."""
        return self.support * (1.0 if self.agreement is None else self.agreement)

    @property
    def standing(self) -> float:
        """The strength, and the votes of the views. Orders what is rendered."""
        pose = self.map_from_camera
        votes = 0.0 if self.votes is None or pose is None else self.votes.for_pose(pose)
        return self.strength + votes

    @property
    def pose(self) -> Array | None:
        """`map_from_camera`."""
        return self.map_from_camera

    @property
    def map_from_camera(self) -> Array | None:
        if isinstance(self.estimate, NoPose):
            return None
        return invert(self.estimate.camera_from_points)


class Proposer(Protocol):
    """A way to find poses in a map. A new one is a file with such a class."""

    name: str
    needs_depth: bool
    """Whether queries must have depth."""
    device: torch.device

    def propose(self, query: Query) -> Iterator[Sequence[Hypothesis]]:
        """Hypotheses in groups, the most promising first. After each group, an answer is tried with all
        hypotheses so far; the next group is only computed if that fails."""
