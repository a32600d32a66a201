"""The robot of tools/soak.py: sends images, calibrations and malformed messages, and receives poses.

Import it when the environment of ROS is set.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from diff2i2p.poses import matrix_from_pose, nanoseconds, stamp_from
from diff2i2p.qos import sensor_qos
from diff2i2p_core.geometry.camera import Camera

CAMERA = Camera(640, 480, 525, 525, 319.5, 239.5)
FRAME = "camera"


class Robot:
    """Publishes what a robot would, and receives the poses."""

    def __init__(self) -> None:
        rclpy.init()
        self.node = rclpy.create_node("soak")
        self.image = self.node.create_publisher(Image, "image", sensor_qos())
        self.info = self.node.create_publisher(CameraInfo, "camera_info", sensor_qos())
        self.prior = self.node.create_publisher(PoseWithCovarianceStamped, "initialpose", 10)
        self.transforms = self.node.create_publisher(TFMessage, "/tf", 10)
        self._reload = self.node.create_client(Trigger, "diff2i2p/reload_map")
        self.poses: list[tuple[int, int, np.ndarray]] = []
        """Stamp, time of arrival, map_from_camera."""
        self.values: dict[str, str] = {}

        def on_pose(message: Any) -> None:
            self.poses.append(
                (
                    nanoseconds(message.header.stamp),
                    time.monotonic_ns(),
                    matrix_from_pose(message.pose.pose, "pose"),
                )
            )

        def on_diagnostics(message: Any) -> None:
            self.values = {row.key: row.value for status in message.status for row in status.values}

        self.node.create_subscription(PoseWithCovarianceStamped, "pose", on_pose, 100)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, 10)
        executor = SingleThreadedExecutor()
        executor.add_node(self.node)
        threading.Thread(target=executor.spin, daemon=True).start()

    def calibrate(self) -> None:
        k = CAMERA.matrix.ravel().tolist()
        self.info.publish(CameraInfo(width=CAMERA.width, height=CAMERA.height, k=k))

    def send(self, pixels: np.ndarray, stamp: int, **changed: Any) -> None:
        """An image, with fields that may be `changed` to malformed ones."""

        height, width = pixels.shape[:2]
        fields = {
            "height": height,
            "width": width,
            "encoding": "rgb8",
            "step": 3 * width,
            "data": pixels.tobytes(),
        }
        message = Image(**{**fields, **changed})
        message.header.frame_id, message.header.stamp = FRAME, stamp_from(stamp)
        self.image.publish(message)

    def reload_map(self) -> None:
        self._reload.call_async(Trigger.Request())

    def malformed(self) -> Iterator[Callable[[int], None]]:
        """Ways to send malformed messages of every topic, each with its own stamp."""

        grey = np.full((CAMERA.height, CAMERA.width, 3), 99, np.uint8)
        bad_images: list[dict[str, Any]] = [
            {"encoding": "rgb9"},
            {"encoding": ""},
            {"data": b"short"},
            {"step": 1},
            {"width": 0, "height": 0, "data": b""},
            {"width": 2**31, "height": 2**31},
        ]
        for fields in bad_images:
            yield lambda stamp, fields=fields: self.send(grey, stamp, **fields)  # type: ignore[misc]
        for value in (float("nan"), 0.0, -1.0, float("inf")):
            info = CameraInfo(width=CAMERA.width, height=CAMERA.height, k=[value] * 9)
            yield lambda stamp, info=info: self.info.publish(info)  # type: ignore[misc]
        prior = PoseWithCovarianceStamped()
        prior.pose.pose.position.x = float("nan")
        yield lambda stamp: self.prior.publish(prior)
        transform = TransformStamped()
        transform.transform.translation.x = float("inf")
        yield lambda stamp: self.transforms.publish(TFMessage(transforms=[transform]))
