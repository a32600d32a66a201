"""Localizes the images of several cameras of a bag as queries of one body."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.localize_bag import Replay, counted, in_time
from diff2i2p_core.evaluation.replay_truth import Truth
from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.geometry.covariance import covariance_at
from diff2i2p_core.geometry.rig import RigCamera
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.localization.rig_result import RigLocalization
from diff2i2p_core.localization.tracker import Tracker
from diff2i2p_core.messages.bag_rig import BagRig, RigImages
from diff2i2p_core.typing import Array


@dataclass
class CameraShare:
    """What one camera contributed to a replay."""

    images: int = 0
    contributed: int = 0
    """Number of images whose matches supported an accepted pose."""
    inliers: list[int] = field(default_factory=list)
    """Of the images with an accepted pose."""
    mounted: RigCamera | None = None
    """Where it is on the body, at its first image."""

    def add(self, answer: RigLocalization, name: str) -> None:
        """Count the image that the camera with this name had for an answer."""
        accepted = answer.localized and name in answer.cameras
        inliers = answer.cameras[name].num_inliers if accepted else None
        self.count(inliers, contributed=name in answer.contributing)

    def count(self, inliers: int | None, *, contributed: bool) -> None:
        """Count an image with so many inliers; None: its pose was not accepted."""
        self.images += 1
        if inliers is not None:
            self.contributed += contributed
            self.inliers.append(inliers)

    def as_dict(self) -> dict[str, Any]:
        median = float(np.median(self.inliers)) if self.inliers else None
        counts = {"images": self.images, "contributed": self.contributed, "median_inliers": median}
        if self.mounted is None:
            return counts
        return counts | {
            "camera": asdict(self.mounted.camera.undistorted()),
            "body_from_camera": self.mounted.body_from_camera.tolist(),
        }


def localize_rig_bag(
    rig: BagRig,
    tracker: Tracker,
    truth: Truth | None = None,
    *,
    base: str | None = None,
    odom: str | None = None,
    realtime: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Replay:
    """As `localize_bag`, with one result for the images of each moment: the pose of the first camera.

    `base` is the body's frame in TF, by default that of the first camera.
    """
    work = _Work(rig, tracker, truth, base or rig.frame, odom)
    moments = counted(rig.moments(), progress)
    results = in_time(moments, work.done) if realtime else [work.done(moment)[0] for moment in moments]
    if work.faults and len(work.faults) == sum(share.images for share in work.shares.values()):
        raise work.faults[0]
    stamps = rig.stamps
    shares = {name: share.as_dict() for name, share in work.shares.items()}
    return Replay(results, len(stamps) - len(results), stamps[0] / 1e9, stamps[-1] / 1e9, shares)


class _Work:
    def __init__(
        self, rig: BagRig, tracker: Tracker, truth: Truth | None, body: str, odom: str | None
    ) -> None:
        self._rig, self._tracker, self._truth = rig, tracker, truth
        self._body, self._odom = body, odom
        self.shares = {camera.topic: CameraShare() for camera in rig.cameras}
        self.faults: list[InputError] = []
        """Of the images that cannot be used."""

    def done(self, moment: RigImages, late: float = 0.0) -> tuple[QueryResult, float]:
        """The result and the processing time in seconds, which begins `late` seconds after the arrival."""
        started = time.perf_counter()
        answer = self._localized(moment)
        seconds = time.perf_counter() - started
        body_from_first = self._rig.index.tree.at(self._body, self._rig.frame, moment.stamp)
        pose, covariance = answer.map_from_body, answer.covariance
        if pose is not None and covariance is not None and body_from_first is not None:
            of_first = pose @ body_from_first
            covariance = covariance_at(covariance, of_first[:3, 3] - pose[:3, 3])
            pose = of_first
        count = answer.num_correspondences
        result = QueryResult(
            number=moment.number,
            stamp=moment.stamp / 1e9,
            true_map_from_camera=None if self._truth is None else self._truth.at(moment.stamp),
            map_from_camera=pose if body_from_first is not None else None,
            reason=answer.reason,
            num_inliers=answer.num_inliers if answer.cameras else None,
            inlier_ratio=answer.num_inliers / max(count, 1) if answer.cameras else None,
            latency_ms=1000 * (late + seconds),
            covariance=covariance,
        )
        return result, seconds

    def _localized(self, moment: RigImages) -> RigLocalization:
        images, cameras, depths, reason = [], [], [], ""
        for number, image in moment.images.items():
            camera = self._rig.cameras[number]
            mounting = self._mounting(camera.frame, image.stamp, moment.stamp)
            try:
                pixels, pinhole, depth = camera.decode(image)
            except InputError as error:
                self.faults.append(error)
                reason = f"unusable image ({error})"
                continue
            if mounting is None:
                reason = f"no transform ({self._body} -> {camera.frame} at its time)"
            elif camera.depth_topic is not None and depth is None:
                reason = "no depth at its time"
            else:
                images.append(pixels)
                cameras.append(RigCamera(camera.topic, pinhole, mounting))
                share = self.shares[camera.topic]
                share.mounted = share.mounted or cameras[-1]
                depths.append(depth)
        answer = RigLocalization.refused(reason)
        if cameras:
            odom = self._odom_from_body(moment.stamp)
            answer = self._tracker.localize_rig(
                images, cameras, moment.stamp, odom_from_body=odom, depths=depths
            )
        for number in moment.images:
            topic = self._rig.cameras[number].topic
            self.shares[topic].add(answer, topic)
        return answer

    def _odom_from_body(self, stamp: int) -> Array | None:
        return None if self._odom is None else self._rig.index.tree.at(self._odom, self._body, stamp)

    def _mounting(self, frame: str, stamp: int, moment: int) -> Array | None:
        """body_from_camera, for an image at `stamp`, from the body at `moment`."""
        mounting = self._rig.index.tree.at(self._body, frame, stamp)
        if mounting is None or stamp == moment:
            return mounting
        then, now = self._odom_from_body(stamp), self._odom_from_body(moment)
        return mounting if then is None or now is None else invert(now) @ then @ mounting
