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
from diff2i2p.depth import depth_to_metres
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
    map_voxel: float
    needs_depth: bool
    settings: LocalizerSettings

    def localize(
        self,
        image: NDArray[np.uint8],
        camera: Camera,
        *,
        prior: NDArray[np.float64] | None = None,
        depth: NDArray[np.float32] | None = None,
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
    depth: Image | None = None


@dataclass(frozen=True)
class Result:
    """What follows from an image: nothing without a pose, no transform where TF lacks a part of it."""

    found: Localization
    image: NDArray[np.uint8]
    """(H, W, 3) RGB, rectified, of `camera`."""
    camera: Camera
    pose: PoseWithCovarianceStamped | None = None
    transform: TransformStamped | None = None
    tf_fault: str = ""


class Pipeline:
    """Holds the localizer of the current map and turns jobs into results."""

    def __init__(self, localizer_class: LocalizerClass, frames: Frames, health: Health) -> None:
        self._class = localizer_class
        self._frames = frames
        self._health = health
        self.parameters = frames.parameters
        self.prior = PriorKeeper(frames)
        self.localizer: Localizing | None = None

    def apply(self, parameters: Parameters) -> None:
        """Use other values of those parameters that may change at once, from the next image on."""
        self.parameters = self._frames.parameters = parameters
        if self.localizer is not None:
            self.localizer.settings = parameters.localizer_settings()

    def open_map(self, name: str) -> None:
        """Take a map file; InputError if it, or the weights, cannot be used. The former map stays then."""
        p = self.parameters
        path = Path(name).expanduser()
        settings = p.localizer_settings()
        self._use(self._class.open(path, p.weights or None, device=p.device, settings=settings), str(path))

    def build_map(self, message: PointCloud2) -> None:
        """Make the map from a cloud. The former map stays in use if the cloud is refused (InputError)."""
        p = self.parameters
        points, colors = cloud_from_message(message)
        settings = p.localizer_settings()
        localizer = self._class.from_cloud(
            points, colors, p.weights or None, device=p.device, up=p.map_up, settings=settings
        )
        self._use(localizer, f"cloud of {len(points)} points")

    def process(self, job: Job) -> Result | None:
        """Localize one image; None without a map. InputError for an image that does not fit."""
        localizer = self.localizer
        if localizer is None:
            return None
        self.prior.begin()
        compressed = isinstance(job.message, CompressedImage)
        decoded = compressed_to_rgb(job.message) if compressed else image_to_rgb(job.message)
        image, camera = rectified_image(decoded, job.camera)
        depth = None if job.depth is None else depth_to_metres(job.depth, job.camera)
        prior = self._predict(job)
        found = localizer.localize(image, camera, prior=prior, depth=depth)
        self._report(found, prior is not None, job)
        if found.map_from_camera is None or found.covariance is None or not found.localized:
            self.prior.missed(had_prior=prior is not None)
            return Result(found, image, camera)
        pose, transform, fault = self._placed(found.map_from_camera, found.covariance, job)
        return Result(found, image, camera, pose, transform, fault)

    def _predict(self, job: Job) -> NDArray[np.float64] | None:
        if not self.parameters.use_prior:
            return None
        try:
            return self.prior.predict(job.camera_frame, job.message.header.stamp)
        except TransformException:
            return None  # the pose needs the same transform: _placed names what is missing

    def _placed(
        self, map_from_camera: NDArray[np.float64], covariance: NDArray[np.float64], job: Job
    ) -> tuple[PoseWithCovarianceStamped | None, TransformStamped | None, str]:
        """Pose, transform, and what TF lacks for them."""
        stamp = job.message.header.stamp
        pose = None
        try:
            pose = self._frames.pose(map_from_camera, covariance, job.camera_frame, stamp)
            transform = self._frames.transform(map_from_camera, job.camera_frame, stamp)
            self.prior.localized(map_from_camera, job.camera_frame, stamp)
        except TransformException as error:
            reason = str(error).strip() or type(error).__name__
            return pose, None, f"localized, but the transform cannot be published: {reason}"
        return pose, transform if self.parameters.publish_tf else None, ""

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
        self._health.mended("image", "depth", "tf")
        self._health.count("images_localized" if found.localized else "images_not_localized")
        if found.localized:
            self._health.outcome = (DiagnosticStatus.OK, "localized")
        else:
            self._health.outcome = (DiagnosticStatus.WARN, f"not localized: {found.reason}")

    def _use(self, localizer: Localizing, source: str) -> None:
        localizer.settings = self.parameters.localizer_settings()  # they may have changed meanwhile
        self.localizer = localizer
        self.prior.reset()
        self._health.map = source
        self._health.mended("map_cloud", "map_file")
        self._health.values["map_points"] = str(len(localizer.map_points))
        self._health.needs_depth = localizer.needs_depth
