"""The images of several cameras of one body, and possible poses of the body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError, located
from diff2i2p_core.geometry.camera_matches import CameraMatches
from diff2i2p_core.geometry.pnp import NoPose
from diff2i2p_core.geometry.rig import RigCamera, check_rig
from diff2i2p_core.geometry.rig_pnp import RigEstimate
from diff2i2p_core.geometry.se3 import invert, is_rigid
from diff2i2p_core.localization.gates import contributing
from diff2i2p_core.localization.hypothesis import Hypothesis
from diff2i2p_core.localization.query import Clock, Query
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.localization.votes import Votes
from diff2i2p_core.typing import Array, Image


@dataclass(frozen=True)
class RigQuery:
    """One query per camera, and what is common to them."""

    cameras: tuple[RigCamera, ...]
    queries: tuple[Query, ...]
    """Each with the prior of its camera."""
    settings: LocalizerSettings
    prior: Array | None
    """Approximate map_from_body."""
    clock: Clock

    @classmethod
    def of(
        cls,
        images: Sequence[Image],
        cameras: Sequence[RigCamera],
        settings: LocalizerSettings,
        *,
        depths: Sequence[NDArray[np.float32] | None] | None = None,
        prior: Array | None = None,
        device: torch.device | str = "cpu",
    ) -> RigQuery:
        """From one image (H, W, 3) RGB per camera, and its registered depth (H, W). InputError if they do not
        fit together."""
        check_rig(cameras)
        depths = [None] * len(cameras) if depths is None else depths
        if not len(images) == len(cameras) == len(depths):
            raise InputError(
                f"{len(images)} images, {len(cameras)} cameras and {len(depths)} depths; give one of each"
            )
        if prior is not None and not is_rigid(prior):
            raise InputError("prior: not a finite rigid transform; give x,y,z,qx,qy,qz,qw")
        clock, queries = Clock(device), []
        for image, mounted, depth in zip(images, cameras, depths, strict=True):
            of_camera = None if prior is None else prior @ mounted.body_from_camera
            with located(f"camera '{mounted.name}'"):
                query = Query.of(image, mounted.camera, settings, depth=depth, prior=of_camera, device=device)
            queries.append(replace(query, clock=clock))
        return cls(tuple(cameras), tuple(queries), settings, prior, clock)

    def body_pose(self, camera: int, map_from_camera: Array) -> Array:
        """map_from_body, from the pose of the camera with this number."""
        return map_from_camera @ invert(self.cameras[camera].body_from_camera)

    def matches(
        self, camera: int, pixels: Array, points: Array, max_error_px: float, scores: Array | None = None
    ) -> CameraMatches:
        """Matches (N, 2) and (N, 3) of the camera with this number."""
        pinhole, mounted = self.queries[camera].camera, self.cameras[camera]
        return CameraMatches(pixels, points, pinhole, mounted.body_from_camera, max_error_px, scores)


@dataclass(frozen=True)
class RigHypothesis:
    """Matches of all cameras with parts of the map, and the pose of the body on which they agree, if any."""

    matcher: str
    """The proposer's name."""
    source: str
    """Where the pose comes from, in words: "view 3 of front"."""
    matches: tuple[CameraMatches, ...]
    """Of each camera, perhaps none."""
    estimate: RigEstimate | NoPose
    near_prior: bool = False
    settled: bool = False
    doubt: str = ""
    """As in `Hypothesis`."""
    agreements: tuple[float, ...] = ()
    """Each camera's, as in `Hypothesis`; empty if they were not compared."""
    votes: tuple[Votes, ...] = ()
    """Those of the views that were matched with each camera, for poses of the body, if they count."""

    @property
    def support(self) -> int:
        """Number of inliers of the pose in all images; 0 without one."""
        return self.estimate.num_inliers if isinstance(self.estimate, RigEstimate) else 0

    @property
    def strengths(self) -> list[float]:
        """Each camera's inliers, weighed by its agreement."""
        if not self.agreements:
            return [float(count) for count in self.counts]
        return [count * share for count, share in zip(self.counts, self.agreements, strict=True)]

    @property
    def strength(self) -> float:
        """Orders hypotheses."""
        return sum(self.strengths)

    @property
    def agreement(self) -> float | None:
        """The mean of the cameras', weighted by their inliers, if they were compared."""
        return self.strength / max(self.support, 1) if self.agreements else None

    def supporting(self, settings: LocalizerSettings, *, near: bool = False) -> list[bool]:
        """Which cameras support the pose. The matches of others, as of a blank wall, are wrong. `near`: it
        agrees with a prior."""
        if self.agreements:
            views = settings.views
            least = views.near_least_agreement if near else views.alone_agreement
            counted = zip(self.counts, self.agreements, strict=True)
            return [count >= views.least_inliers and agreement >= least for count, agreement in counted]
        ratio = settings.views.min_inlier_ratio if self.settled else settings.gates.min_inlier_ratio
        return contributing(self.counts, self.totals, ratio)

    @property
    def pose(self) -> Array | None:
        """`map_from_body`."""
        return self.map_from_body

    @property
    def map_from_body(self) -> Array | None:
        return self.estimate.map_from_body if isinstance(self.estimate, RigEstimate) else None

    @property
    def counts(self) -> list[int]:
        """Number of inliers of each camera."""
        if isinstance(self.estimate, NoPose):
            return [0] * len(self.matches)
        return [int(inliers.sum()) for inliers in self.estimate.inliers]

    @property
    def totals(self) -> list[int]:
        """Number of matches of each camera."""
        return [len(each.pixels) for each in self.matches]


@dataclass(frozen=True)
class Candidate:
    """A hypothesis of one camera of a rig."""

    camera: int
    hypothesis: Hypothesis
    map_from_body: Array | None
    votes: tuple[Votes, ...] = ()
    """As in `RigHypothesis`."""

    @classmethod
    def of(
        cls, rig: RigQuery, camera: int, hypothesis: Hypothesis, votes: tuple[Votes, ...] = ()
    ) -> Candidate:
        pose = hypothesis.map_from_camera
        return cls(camera, hypothesis, None if pose is None else rig.body_pose(camera, pose), votes)

    @property
    def support(self) -> int:
        return self.hypothesis.support

    @property
    def strength(self) -> float:
        return self.hypothesis.strength

    @property
    def standing(self) -> float:
        """The strength, and the votes of the views of all cameras. Orders what is rendered."""
        pose = self.map_from_body
        voted = [] if pose is None else [of_camera.for_pose(pose) for of_camera in self.votes]
        return self.strength + sum(voted)

    @property
    def pose(self) -> Array | None:
        """`map_from_body`."""
        return self.map_from_body

    def source(self, rig: RigQuery) -> str:
        """In words."""
        return f"{self.hypothesis.source} of {rig.cameras[self.camera].name}"
