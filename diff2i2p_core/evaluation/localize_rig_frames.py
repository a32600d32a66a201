"""Localizes the frames of several cameras on one body: all together, and each camera alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diff2i2p_core.evaluation.localize_rig_bag import CameraShare
from diff2i2p_core.evaluation.summary import Summary, summarize
from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.io.rig_folder import PosedRig, Seen
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.rig_result import RigLocalization
from diff2i2p_core.localization.settings import TrackerSettings
from diff2i2p_core.localization.tracker import Tracker
from diff2i2p_core.typing import Array


@dataclass(frozen=True)
class CameraResult:
    """One camera of a rig."""

    alone: Sequence[QueryResult]
    """Poses of the body from this camera alone."""
    share: CameraShare
    """What it contributed to the joint poses."""

    @property
    def summary(self) -> Summary:
        """Of the camera alone."""
        return summarize(self.alone)

    def as_dict(self) -> dict[str, Any]:
        return {**self.share.as_dict(), "alone": self.summary.as_dict()}


def localize_rig_frames(
    localizer: Localizer,
    rig: PosedRig,
    numbers: Sequence[int],
    progress: Callable[[int], None] | None = None,
    *,
    rate: float,
    track: bool = False,
    depth: bool = False,
) -> tuple[list[QueryResult], Mapping[str, CameraResult]]:
    """Poses of the body from all cameras, and the results of each camera.

    `rate` is frame numbers a second; the other arguments are those of `localize_frames`.
    """
    settings = TrackerSettings(use_prior=track)
    together = Tracker(localizer, settings)
    trackers = {name: Tracker(localizer, settings) for name in rig.names}
    shares = {name: CameraShare() for name in rig.names}
    alone: dict[str, list[QueryResult]] = {name: [] for name in rig.names}
    results = []
    for done, number in enumerate(numbers, start=1):
        seen = rig.moment(number)
        true, stamp = rig.world_from_body(number), round(1e9 * number / rate)
        with_depth = depth or localizer.needs_depth
        answer = _answer(together, seen, stamp, depth=with_depth)
        results.append(_result(number, number / rate, true, answer))
        for each in seen:
            name = each[0].name
            shares[name].add(answer, name)
            own = _answer(trackers[name], [each], stamp, depth=with_depth)
            alone[name].append(_result(number, number / rate, true, own))
        if progress is not None:
            progress(done)
    return results, {name: CameraResult(alone[name], shares[name]) for name in rig.names}


def _answer(tracker: Tracker, seen: Sequence[Seen], stamp: int, *, depth: bool) -> RigLocalization:
    return tracker.localize_rig(
        [frame.image for _, frame, _ in seen],
        [camera for camera, _, _ in seen],
        stamp,
        depths=[metres if depth else None for _, _, metres in seen],
    )


def _result(number: int, seconds: float, true: Array, answer: RigLocalization) -> QueryResult:
    return QueryResult(
        number=number,
        stamp=seconds,
        true_map_from_camera=true,
        map_from_camera=answer.map_from_body,
        reason=answer.reason,
        num_inliers=answer.num_inliers,
        inlier_ratio=answer.num_inliers / max(answer.num_correspondences, 1),
        latency_ms=sum(answer.latency_ms.values()),
        covariance=answer.covariance,
    )
