"""The camera's topics while the node is active: messages are checked, counted, paired and passed on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from diff2i2p.cameras import camera_from_info
from diff2i2p.diagnostics import Diagnostics
from diff2i2p.health import Health
from diff2i2p.images import check_depth, check_image
from diff2i2p.pairing import StampPairing
from diff2i2p.parameters import Parameters
from diff2i2p.pipeline import Job
from diff2i2p.poses import nanoseconds
from diff2i2p.qos import OVERRIDABLE, on_mismatch, sensor_qos
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera


class CameraInputs:
    """Subscribes to the topics. `take` gets a job for each image that can be processed."""

    def __init__(
        self,
        node: LifecycleNode,
        parameters: Parameters,
        health: Health,
        diagnostics: Diagnostics,
        take: Callable[[Job], None],
    ) -> None:
        self._node = node
        self._health = health
        self.parameters = parameters
        """Can be replaced by parameters with the same topics."""
        self._take = take
        self._diagnostics = diagnostics
        self._camera: Camera | None = None
        self._last_stamp = 0
        self._pairing = StampPairing(self._on_pair, self._on_unpaired)
        self._subscriptions: list[Any] = []
        transport = parameters.image_transport
        self._subscribe(CameraInfo, "camera_info", self._on_camera_info)
        if transport != "compressed":
            self._subscribe(Image, "image", self._on_image)
        if transport != "raw":
            self._subscribe(CompressedImage, "image/compressed", self._on_image)
        if parameters.use_depth:
            self._subscribe(Image, "depth", self._on_depth)

    def close(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def reset(self) -> None:
        """Time jumped back: drop what waits, it belongs to another time."""
        self._last_stamp = 0
        self._pairing.reset()

    def _subscribe(self, kind: type, topic: str, callback: Callable[[Any], None]) -> None:
        name = topic.partition("/")[0]
        subscription = self._node.create_subscription(
            kind,
            topic,
            self._diagnostics.guarded(name, callback),
            sensor_qos(),
            qos_overriding_options=OVERRIDABLE,
            event_callbacks=on_mismatch(name, self._diagnostics.complain),
        )
        self._subscriptions.append(subscription)

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._camera = None
        self._camera = camera_from_info(message, rectified=self.parameters.image_is_rectified)
        self._health.saw("camera_info")
        self._health.recovered("camera_info")
        self._diagnostics.publish_change()

    def _on_image(self, message: Image | CompressedImage) -> None:
        check_image(message)
        stamp = nanoseconds(message.header.stamp)
        if stamp == self._last_stamp:
            return
        self._last_stamp = stamp
        camera_frame = self.parameters.camera_frame or message.header.frame_id.removeprefix("/")
        if camera_frame in ("", self.parameters.map_frame):
            raise InputError(
                f"image: the frame_id of its header is '{camera_frame}'; name the camera's optical frame "
                "there, or in the parameter camera_frame"
            )
        self._health.count("images_received")
        self._health.saw("image")
        if self._camera is None:
            return
        job = Job(message, self._camera, camera_frame, time.monotonic())
        if self.parameters.use_depth and self._health.needs_depth:
            self._health.expect("pair")
            self._pairing.first(stamp, job, self._tolerance)
        else:
            self._take(job)

    def _on_depth(self, message: Image) -> None:
        check_depth(message)
        if self._health.needs_depth:
            self._pairing.second(nanoseconds(message.header.stamp), message, self._tolerance)

    def _on_pair(self, job: Job, depth: Image) -> None:
        self._health.saw("pair")
        self._take(replace(job, depth=depth))

    def _on_unpaired(self) -> None:
        self._health.count("images_without_depth")

    @property
    def _tolerance(self) -> int:
        return round(self.parameters.depth_tolerance * 1e9)
