"""A tracker whose localizer gives known answers."""

from __future__ import annotations

from dataclasses import replace

import first_found
import numpy as np
from plain_map import PlainMap

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import exp
from diff2i2p_core.localization.localizing import Localizing
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.localization.settings import LocalizerSettings, TrackerSettings
from diff2i2p_core.localization.tracker import Tracker
from diff2i2p_core.typing import Array

CAMERA = Camera(4, 3, 4, 4, 1.5, 1.0)
IMAGE = np.zeros((3, 4, 3), np.uint8)
TENTH = 100_000_000
ROOM = np.random.default_rng(0).uniform((0, 0, 0), (20, 10, 3), (2000, 3)).astype(np.float32)
HERE, THERE = exp([0, 0, 0.3, 4, 5, 1.5]), exp([0, 0, 2.0, 15, 3, 1.5])


class Scripted:
    """Returns the `answers` one by one: a pose, a reason, or a function of the prior. Records the priors."""

    map, needs_depth = PlainMap(PointCloud(ROOM), np.array([HERE, THERE])), False

    def __init__(self) -> None:
        self.settings = LocalizerSettings()
        self.answer: Array | str = "too few inliers (3, need 60)"
        self.near_answer: Array | str | None = None
        """The answer with a prior, if it differs."""
        self.covariance: Array | None = None
        """Of all answers; without one, they are not combined with odometry."""
        self.priors: list[Array | None] = []

    def localize(
        self,
        image: np.ndarray,
        camera: Camera,
        *,
        prior: Array | None = None,
        depth: np.ndarray | None = None,
    ) -> Localization:
        self.priors.append(prior)
        answer = self.answer if prior is None or self.near_answer is None else self.near_answer
        empty = replace(
            Localization.refused(""), latency_ms={"match": 2.0, "near" if prior is not None else "map": 1.0}
        )
        if isinstance(answer, str):
            return replace(empty, reason=answer)
        return replace(empty, localized=True, map_from_camera=answer, covariance=self.covariance, submap=3)

    localize_rig = first_found.localize_rig

    def warm_up(self, *, depth: bool = False) -> None:
        pass


class Rig:
    """A tracker that gets an image each tenth of a second."""

    def __init__(self, **settings: float) -> None:
        self.localizer = Scripted()
        localizing: Localizing = self.localizer
        self.tracker = Tracker(localizing, replace(TrackerSettings(), **settings))  # type: ignore[arg-type]
        self.stamp = 50 * 10 * TENTH

    def see(
        self,
        answer: Array | str,
        near: Array | str | None = None,
        *,
        odom: Array | None = None,
        after: float = 0.1,
        name: str = "",
        mounting: Array | None = None,
    ) -> Localization:
        self.localizer.answer, self.localizer.near_answer = answer, near
        self.stamp += round(after * 1e9)
        return self.tracker.localize(
            IMAGE, CAMERA, self.stamp, body_from_camera=mounting, odom_from_body=odom, name=name
        )

    @property
    def prior(self) -> Array | None:
        return self.localizer.priors[-1]
