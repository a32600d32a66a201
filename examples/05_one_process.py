"""A camera driver and the localization node in one process, with one executor.

export PYTHONPATH=ros2_ws/src/diff2i2p          # if the package is not installed with colcon
python examples/05_one_process.py               # in a synthetic room; replace Driver by your own node

rclpy has no intra-process communication: messages go through DDS here, too. What is saved are a process and
its memory, and both start and end together. The localization runs in a thread of its own, so it does not
delay the callbacks of the driver; its configuration does, while the map is loaded.
"""

from __future__ import annotations

import time

import numpy as np
import rclpy
from geometry_msgs.msg import PoseWithCovarianceStamped
from PIL import Image as Pillow
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image

import synthetic_room
from diff2i2p.node import LocalizationNode

PERIOD = 0.5
"""Seconds between two images."""
TIMEOUT = 120.0
"""Seconds for all poses."""


class Driver(Node):
    """Plays the images of the synthetic room again and again."""

    def __init__(self) -> None:
        super().__init__("camera_driver")
        self._images = sorted(synthetic_room.query_frames().glob("*.color.jpg"))
        self._count = 0
        self._image = self.create_publisher(Image, "image", 1)
        self._info = self.create_publisher(CameraInfo, "camera_info", 1)
        self._timer = self.create_timer(PERIOD, self._publish)

    def _publish(self) -> None:
        pixels = np.asarray(Pillow.open(self._images[self._count % len(self._images)]).convert("RGB"))
        self._count += 1
        height, width = pixels.shape[:2]
        image = Image(height=height, width=width, encoding="rgb8", step=3 * width, data=pixels.tobytes())
        image.header.frame_id = "camera_optical"
        image.header.stamp = self.get_clock().now().to_msg()
        camera = synthetic_room.CAMERA
        info = CameraInfo(header=image.header, width=camera.width, height=camera.height)
        info.k = camera.matrix.ravel()
        self._info.publish(info)
        self._image.publish(image)


def main() -> None:
    rclpy.init()
    # The images are of places that are far apart, so none is a prior of the next.
    values = {"map": str(synthetic_room.map_file()), "use_prior": False}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    localization, driver = LocalizationNode(parameter_overrides=overrides), Driver()
    poses: list[PoseWithCovarianceStamped] = []
    driver.create_subscription(PoseWithCovarianceStamped, "pose", poses.append, 10)
    executor = SingleThreadedExecutor()
    for node in (localization, driver):
        executor.add_node(node)
    until = time.monotonic() + TIMEOUT
    try:
        while len(poses) < 4 and time.monotonic() < until:
            executor.spin_once(timeout_sec=0.1)
    except KeyboardInterrupt:
        pass
    finally:
        for node in (localization, driver):
            node.destroy_node()
        rclpy.try_shutdown()
    for pose in poses[:4]:
        at = pose.pose.pose.position
        print(f"camera at ({at.x:.2f}, {at.y:.2f}, {at.z:.2f}) m")


if __name__ == "__main__":
    main()
