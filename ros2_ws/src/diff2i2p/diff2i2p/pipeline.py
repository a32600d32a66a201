"""The slow work of the node, done on the worker's thread: maps to localizers, images to poses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2

from diff2i2p.clouds import cloud_from_message
from diff2i2p.core_settings import localizer_settings, tracker_settings
from diff2i2p.frames import Frames
from diff2i2p.health import Health
from diff2i2p.images import depth_to_metres, image_to_rgb
from diff2i2p.initial_pose import InitialPose
from diff2i2p.job import Job
from diff2i2p.parameters import Parameters
from diff2i2p.poses import nanoseconds
from diff2i2p.rig_work import RigWork
from diff2i2p.transforms import TransformException
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.localization.localizing import Localizing
from diff2i2p_core.localization.tracker import Tracker
from diff2i2p_core.mapping.matchers import checked_matcher

if TYPE_CHECKING:
    from diff2i2p_core.localization.result import Localization
    from diff2i2p_core.localization.settings import LocalizerSettings
    from diff2i2p_core.mapping.matchers import Matcher


class LocalizerClass(Protocol):
    """How a localizer is made: from a map file, or from a cloud in memory."""

    def open(
        self,
        map_path: str | Path,
        weights: str | None = None,
        *,
        matcher: Matcher = "auto",
        device: str = "cpu",
        settings: LocalizerSettings | None = None,
    ) -> Localizing: ...

    def from_cloud(
        self,
        cloud: PointCloud,
        weights: str | None = None,
        *,
        matcher: Matcher = "auto",
        device: str = "cpu",
        up: str = "z",
        settings: LocalizerSettings | None = None,
        note: Callable[[str], None],
    ) -> Localizing: ...


@dataclass(frozen=True)
class Result:
    """The result for an image. There is no pose if it was not localized, no transform if TF lacks a part."""

    localization: Localization
    image: NDArray[np.uint8]
    """(H, W, 3) RGB from the job's camera, as received: not rectified."""
    pose: PoseWithCovarianceStamped | None = None
    transform: TransformStamped | None = None
    tf_fault: str = ""
    body: str = ""
    """The frame of `pose`."""


class Pipeline:
    """Holds the tracker for the current map and turns jobs into results.

    `reset` and `set_initial` may be called from another thread while an image is processed.
    """

    def __init__(self, localizer_class: LocalizerClass, frames: Frames, health: Health) -> None:
        self._class = localizer_class
        self._frames = frames
        self._health = health
        self.parameters = frames.parameters
        self._tracker: Tracker | None = None

    @property
    def localizer(self) -> Localizing | None:
        """The localizer of the map in use."""
        return None if self._tracker is None else self._tracker.localizer

    def reset(self) -> None:
        """Forget every pose: the next image is searched in the whole map."""
        if self._tracker is not None:
            self._tracker.reset()

    def set_initial(self, pose: InitialPose) -> bool:
        """Give the pose that holds at the next image. Whether there is a map for it."""
        if self._tracker is not None:
            self._tracker.set_pose(pose.map_from_body, pose.within)
        return self._tracker is not None

    def apply(self, parameters: Parameters) -> None:
        """Use new values of the parameters that take effect at once, from the next image on."""
        self.parameters = self._frames.parameters = parameters
        if self._tracker is not None:
            self._tracker.localizer.settings = localizer_settings(parameters)
            self._tracker.settings = tracker_settings(parameters)

    def open_map(self, name: str) -> None:
        """Open a map file. InputError if it or the weights cannot be used; the previous map then stays."""
        p = self.parameters
        path = Path(name).expanduser()
        localizer = self._class.open(
            path,
            p.weights or None,
            matcher=checked_matcher(p.matcher),
            device=p.device,
            settings=localizer_settings(p),
        )
        self.use(localizer, str(path))

    def build_map(self, message: PointCloud2, note: Callable[[str], None]) -> None:
        """Build the map from a cloud; `note` gets lines for the operator about how it is built.

        If the cloud is refused (InputError), the previous map stays in use.
        """
        p = self.parameters
        cloud = cloud_from_message(message, note)
        localizer = self._class.from_cloud(
            cloud,
            p.weights or None,
            matcher=checked_matcher(p.matcher),
            device=p.device,
            up=p.map_up,
            settings=localizer_settings(p),
            note=note,
        )
        self.use(localizer, f"cloud of {len(cloud)} points")

    def process(self, job: Job, now: int | None = None) -> Result | None:
        """Localize one image at the time `now` (nanoseconds, in the image's clock). None if there is no map.

        InputError if the image does not fit.
        """
        tracker = self._tracker
        if tracker is None:
            return None
        if job.name:
            job, answer, image = RigWork(self._frames, self._health).localize(tracker, job, now)
        else:
            image = image_to_rgb(job.message)
            answer = self._localize(tracker, job, image, now)
        self._report(answer, tracker, job)
        if answer.map_from_camera is None or answer.covariance is None:
            return Result(answer, image)
        messages = self._messages(answer.map_from_camera, answer.covariance, job)
        return Result(answer, image, *messages, self.parameters.base_frame or job.camera_frame)

    def _localize(
        self, tracker: Tracker, job: Job, image: NDArray[np.uint8], now: int | None
    ) -> Localization:
        stamp = job.message.header.stamp
        depth = None if job.depth is None else depth_to_metres(job.depth)
        try:
            body_from_camera = invert(self._frames.camera_from_body(job.camera_frame, stamp))
        except TransformException:  # nothing can be published: `_messages` names what is missing
            return tracker.localizer.localize(image, job.camera, depth=depth)
        try:
            odom_from_body = self._frames.odom_from_body(job.camera_frame, stamp)
        except TransformException:
            odom_from_body = None
        return tracker.localize(
            image,
            job.camera,
            nanoseconds(stamp),
            body_from_camera=body_from_camera,
            odom_from_body=odom_from_body,
            depth=depth,
            now_ns=now,
        )

    def _messages(
        self, map_from_camera: NDArray[np.float64], covariance: NDArray[np.float64], job: Job
    ) -> tuple[PoseWithCovarianceStamped | None, TransformStamped | None, str]:
        """Pose, transform, and a message about what TF lacks for them."""
        stamp = job.message.header.stamp
        pose = None
        try:
            pose = self._frames.pose(map_from_camera, covariance, job.camera_frame, stamp)
            transform = self._frames.transform(map_from_camera, job.camera_frame, stamp)
        except TransformException as error:
            reason = str(error).strip() or type(error).__name__
            return pose, None, f"localized, but the transform cannot be published: {reason}"
        return pose, transform, ""

    def _report(self, answer: Localization, tracker: Tracker, job: Job) -> None:
        values = {
            "reason": answer.reason or "none",
            "correspondences": str(answer.num_correspondences),
            "inliers": str(answer.num_inliers),
            "inlier_ratio": f"{answer.inlier_ratio:.3f}",
            "reprojection_error_px": f"{answer.reprojection_error_px:.2f}",
            "agreement": f"{answer.agreement:.3f}",
            "depth_agreement": f"{answer.depth_agreement:.3f}",
            "matcher": answer.matcher or "none",
            "submap": str(answer.submap),
            "tracking": tracker.state,
            "misses": str(tracker.misses),
            "prior": "used" if tracker.prior_used else "none",
            "last_stamp": f"{job.message.header.stamp.sec}.{job.message.header.stamp.nanosec:09d}",
        }
        values |= {f"latency_{name}_ms": f"{ms:.0f}" for name, ms in answer.latency_ms.items()}
        values["latency_total_ms"] = f"{1000 * (time.monotonic() - job.received):.0f}"
        values["warnings"] = "; ".join(answer.warnings) or "none"
        self._health.note("camera", answer.warnings[0] if answer.warnings else "")
        self._health.values |= values
        self._health.recovered("image", "depth", "tf")
        self._health.count("images_localized" if answer.localized else "images_not_localized")
        if answer.localized:
            self._health.decide(DiagnosticStatus.OK, "localized")
        else:
            self._health.decide(DiagnosticStatus.WARN, f"not localized: {answer.reason}")

    def use(self, localizer: Localizing, source: str) -> None:
        """Switch to another map. `source` says where it came from."""
        p = self.parameters  # they may have changed in the meantime
        localizer.settings = localizer_settings(p)
        localizer.warm_up(depth=p.use_depth)
        self._tracker = Tracker(localizer, tracker_settings(p))
        self._health.map = source
        self._health.recovered("map_cloud", "map_file")
        self._health.values["map_points"] = str(len(localizer.map.cloud))
        origin = localizer.map.origin or ()
        self._health.values["map_origin"] = ", ".join(f"{value:.10g}" for value in origin) or "none"
        self._health.needs_depth = localizer.needs_depth
