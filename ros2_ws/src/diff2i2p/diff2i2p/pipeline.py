"""The slow work of the node, done on the worker's thread: maps into localizers, images into poses."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image, PointCloud2

from diff2i2p.cameras import rectified_image
from diff2i2p.clouds import cloud_from_message
from diff2i2p.frames import Frames, PriorKeeper
from diff2i2p.health import Health
from diff2i2p.images import compressed_to_rgb, image_to_rgb
from diff2i2p.parameters import Parameters
from diff2i2p.transforms import TransformException
from diff2i2p_core.geometry.camera import Camera

if TYPE_CHECKING:
    from diff2i2p_core.localization.localizer import Localization
    from diff2i2p_core.localization.settings import LocalizerSettings


class Localizing(Protocol):
    """What the node needs of `diff2i2p_core.localization.Localizer`."""

    map_points: NDArray[np.float32]
    map_colors: NDArray[np.uint8] | None

    def localize(
        self, image: NDArray[np.uint8], camera: Camera, *, prior: NDArray[np.float64] | None = None
    ) -> Localization: ...


class LocalizerClass(Protocol):
    """How a localizer is made: from a map file, or from a cloud in memory."""

    def open(
        self,
        map_path: str | Path,
        weights: str | None = None,
        *,
        device: str = "cpu",
        settings: LocalizerSettings | None = None,
    ) -> Localizing: ...

    def from_cloud(
        self,
        points: NDArray[np.float32],
        colors: NDArray[np.uint8] | None,
        weights: str | None = None,
        *,
        device: str = "cpu",
        up: str = "z",
        settings: LocalizerSettings | None = None,
    ) -> Localizing: ...


@dataclass(frozen=True)
class Job:
    """An image to localize, with the calibration that held when it came."""

    message: Image | CompressedImage
    camera: Camera
    camera_frame: str
    received: float
    """Monotonic seconds."""


@dataclass(frozen=True)
class Result:
    """What to publish for an image: nothing without a pose, no transform where TF lacks a part of it."""

    pose: PoseWithCovarianceStamped | None = None
    transform: TransformStamped | None = None
    tf_fault: str = ""


class Pipeline:
    """Holds the localizer of the current map and turns jobs into results."""

    def __init__(
        self, parameters: Parameters, localizer_class: LocalizerClass, frames: Frames, health: Health
    ) -> None:
        self._parameters = parameters
        self._class = localizer_class
        self._settings = parameters.localizer_settings()
        self._frames = frames
        self._health = health
        self.prior = PriorKeeper(parameters, frames)
        self.localizer: Localizing | None = None

    def open_map(self) -> None:
        """Take the map file of the parameters. InputError if it, or the weights, cannot be used."""
        p = self._parameters
        path = Path(p.map).expanduser()
        localizer = self._class.open(path, p.weights or None, device=p.device, settings=self._settings)
        self._use(localizer, str(path))

    def build_map(self, message: PointCloud2) -> None:
        """Make the map from a cloud. The former map stays in use if the cloud is refused (InputError)."""
        p = self._parameters
        points, colors = cloud_from_message(message)
        localizer = self._class.from_cloud(
            points, colors, p.weights or None, device=p.device, up=p.map_up, settings=self._settings
        )
        self._use(localizer, f"cloud of {len(points)} points")

    def process(self, job: Job) -> Result:
        """Localize one image. InputError for an image that does not fit."""
        if self.localizer is None:
            return Result()
        compressed = isinstance(job.message, CompressedImage)
        decoded = compressed_to_rgb(job.message) if compressed else image_to_rgb(job.message)
        image, camera = rectified_image(decoded, job.camera)
        prior = self._predict(job)
        found = self.localizer.localize(image, camera, prior=prior)
        self._report(found, prior is not None, job)
        if found.map_from_camera is None or found.covariance is None or not found.localized:
            self.prior.missed(had_prior=prior is not None)
            return Result()
        return self._result(found.map_from_camera, found.covariance, job)

    def _predict(self, job: Job) -> NDArray[np.float64] | None:
        if not self._parameters.use_prior:
            return None
        try:
            return self.prior.predict(job.camera_frame, job.message.header.stamp)
        except TransformException:
            return None  # the pose needs the same transform: _result names what is missing

    def _result(
        self, map_from_camera: NDArray[np.float64], covariance: NDArray[np.float64], job: Job
    ) -> Result:
        stamp = job.message.header.stamp
        pose = None
        try:
            pose = self._frames.pose(map_from_camera, covariance, job.camera_frame, stamp)
            transform = self._frames.transform(map_from_camera, job.camera_frame, stamp)
            self.prior.localized(map_from_camera, job.camera_frame, stamp)
        except TransformException as error:
            reason = str(error).strip() or type(error).__name__
            return Result(pose, None, f"localized, but the transform cannot be published: {reason}")
        return Result(pose, transform if self._parameters.publish_tf else None)

    def _report(self, found: Localization, had_prior: bool, job: Job) -> None:
        values = {
            "reason": found.reason or "none",
            "correspondences": str(found.num_correspondences),
            "inliers": str(found.num_inliers),
            "inlier_ratio": f"{found.inlier_ratio:.3f}",
            "reprojection_error_px": f"{found.reprojection_error_px:.2f}",
            "submap": str(found.submap),
            "prior": "used" if had_prior else "none",
            "last_stamp": f"{job.message.header.stamp.sec}.{job.message.header.stamp.nanosec:09d}",
        }
        values |= {f"latency_{name}_ms": f"{ms:.0f}" for name, ms in found.latency_ms.items()}
        values["latency_total_ms"] = f"{1000 * (time.monotonic() - job.received):.0f}"
        self._health.values |= values
        self._health.mended("image", "tf")
        self._health.count("images_localized" if found.localized else "images_not_localized")
        if found.localized:
            self._health.outcome = (DiagnosticStatus.OK, "localized")
        else:
            self._health.outcome = (DiagnosticStatus.WARN, f"not localized: {found.reason}")

    def _use(self, localizer: Localizing, source: str) -> None:
        self.localizer = localizer
        self.prior.reset()
        self._health.map = source
        self._health.mended("map_cloud")
        self._health.values["map_points"] = str(len(localizer.map_points))
