"""The camera's topics while the node is active: messages are checked, counted, paired and passed on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from diff2i2p.camera_infos import CameraInfos
from diff2i2p.diagnostics import Diagnostics
from diff2i2p.health import Health
from diff2i2p.images import check_depth, check_image
from diff2i2p.job import Job
from diff2i2p.pairing import StampPairing
from diff2i2p.parameters import Parameters
from diff2i2p.poses import nanoseconds
from diff2i2p.qos import keeps_messages, latched_qos, sensor_qos, video_qos
from diff2i2p.subscriptions import Subscriptions
from diff2i2p.video_stream import TRANSPORT, FFMPEGPacket, VideoStream
from diff2i2p_core.errors import InputError

REMEMBERED = 100
"""How many stamps of images are remembered: the same image may come raw, and later compressed."""

LATEST = 2_000_000_000
"""Nanoseconds by which it may come later."""


class CameraInputs:
    """Subscribes to the topics. `take` gets a job for each image that can be processed."""

    def __init__(
        self,
        node: LifecycleNode,
        parameters: Parameters,
        health: Health,
        diagnostics: Diagnostics,
        take: Callable[[Job], None],
        camera: str = "",
    ) -> None:
        """`camera`: its name if there are several; its topics are below it."""
        self._node = node
        self._health = health
        self.parameters = parameters
        """Can be replaced by parameters with the same topics."""
        self._take = take
        self._diagnostics = diagnostics
        self._camera = camera
        self._infos = CameraInfos(rectified=parameters.image_is_rectified)
        self._held: tuple[Image | CompressedImage, str, float] | None = None
        """An image whose calibration should come in a moment."""
        self._stamps: deque[int] = deque(maxlen=REMEMBERED)
        self._pairing = StampPairing(self._on_pair, self._on_unpaired)
        self._subscriptions = Subscriptions(node, health, diagnostics)
        transport = parameters.image_transport
        self._subscribe(CameraInfo, "camera_info", self._on_camera_info)
        self._latched: Any = None
        self._video = VideoStream()
        if transport in ("any", "raw"):
            self._subscribe(Image, "image", self._on_image)
        if transport in ("any", "compressed"):
            self._subscribe(CompressedImage, "image/compressed", self._on_image, video_qos())
        if transport == TRANSPORT:
            self._subscribe(FFMPEGPacket, "image/ffmpeg", self._on_image, video_qos())
        if parameters.use_depth:
            self._subscribe(Image, "depth", self._on_depth)
        if camera:
            health.values[f"topics_{camera}"] = ", ".join(self._subscriptions.topics)

    def close(self) -> None:
        self._subscriptions.close()
        if self._latched is not None:
            self._node.destroy_subscription(self._latched)

    def tick(self) -> None:
        """Called about once a second: name topics that have messages of another type, and ask for a
        calibration that was published once, before the node started."""
        self._release()
        self._subscriptions.tick()
        topic = self._topic("camera_info")
        if self._latched is None and keeps_messages(self._node, topic):
            self._latched = self._node.create_subscription(
                CameraInfo,
                topic,
                self._diagnostics.guarded("camera_info", self._on_latched_camera_info),
                latched_qos(),
            )

    def reset(self) -> None:
        """Time jumped back: drop what waits, it belongs to another time."""
        self._infos.reset()
        self._held = None
        self._stamps.clear()
        self._video.reset()
        self._pairing.reset()

    def _subscribe(
        self, kind: type, topic: str, take: Callable[[Any], None], qos: QoSProfile | None = None
    ) -> None:
        name = topic.partition("/")[0]
        lost = self._on_lost if name == "image" else None
        self._subscriptions.add(kind, self._topic(topic), take, qos or sensor_qos(), name=name, lost=lost)

    def _topic(self, name: str) -> str:
        return f"{self._camera}/{name}" if self._camera else name

    def _on_lost(self, event: Any) -> None:
        self._health.images_lost(event.total_count_change)

    def _on_latched_camera_info(self, message: CameraInfo) -> None:
        """Newer ones come on the other subscription, too, perhaps earlier."""
        if self._infos.last is None or nanoseconds(message.header.stamp) > self._infos.last:
            self._on_camera_info(message)

    def _on_camera_info(self, message: CameraInfo) -> None:
        complete = self._infos.add(message)
        self._health.saw("camera_info")
        if complete:
            self._health.recovered("camera_info")
        if self._held is not None and not self._infos.awaits(self._held[0]):
            self._release()
        self._diagnostics.publish_change()

    def _on_image(self, received: Any) -> None:
        """An Image, a CompressedImage or a FFMPEGPacket."""
        self._health.image_arrived()
        message: Image | CompressedImage = self._video.image(received)
        check_image(message)
        stamp = nanoseconds(message.header.stamp)
        now = self._node.get_clock().now().nanoseconds
        self._health.values["image_age_s"] = f"{(now - stamp) / 1e9:.3f}"
        if self._stamps and stamp < max(self._stamps) - LATEST:
            self._stamps.clear()  # a recording that starts again
        if stamp in self._stamps:
            return
        self._stamps.append(stamp)
        camera_frame = self.parameters.camera_frame or message.header.frame_id.removeprefix("/")
        if camera_frame in ("", self.parameters.map_frame):
            raise InputError(
                f"image: the frame_id of its header is '{camera_frame}'; name the camera's optical frame "
                "there, or in the parameter camera_frame"
            )
        self._health.count("images_received")
        self._health.images.tick(stamp, now)
        self._health.saw("image")
        self._release()
        if self._infos.awaits(message):
            self._held = message, camera_frame, time.monotonic()
        else:
            self._use(message, camera_frame, time.monotonic())

    def _release(self) -> None:
        """Use the held image with the calibration that there is."""
        held, self._held = self._held, None
        if held is not None:
            self._use(*held)

    def _use(self, message: Image | CompressedImage, camera_frame: str, received: float) -> None:
        try:
            camera = self._infos.camera(message)
        except InputError as error:
            self._diagnostics.complain("camera_info", error)
            return
        if camera is None:
            return
        self._health.recovered("camera_info")
        job = Job(message, camera, camera_frame, received, name=self._camera)
        if self.parameters.use_depth:
            self._health.expect("pair")
            self._pairing.first(message, job, self._tolerance)
        else:
            self._take(job)

    def _on_depth(self, message: Image) -> None:
        check_depth(message)
        self._pairing.second(message, self._tolerance)

    def _on_pair(self, job: Job, depth: Image) -> None:
        self._health.saw("pair")
        self._take(replace(job, depth=depth))

    def _on_unpaired(self) -> None:
        self._health.count("images_without_depth")

    @property
    def _tolerance(self) -> int:
        return round(self.parameters.depth_tolerance * 1e9)
