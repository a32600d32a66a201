"""A camera driver with Fast DDS's default settings: `python image_driver.py WIDTH HEIGHT RATE`."""

from __future__ import annotations

import os
import sys

os.environ.pop("FASTRTPS_DEFAULT_PROFILES_FILE", None)  # before rclpy is loaded

import contextlib

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

width, height, rate = map(int, sys.argv[1:])
rclpy.init()
node = rclpy.create_node("driver")
publisher = node.create_publisher(Image, "image", qos_profile_sensor_data)
message = Image(height=height, width=width, encoding="rgb8", step=3 * width, data=bytes(3 * width * height))
message.header.frame_id = "camera_optical"


def publish() -> None:
    message.header.stamp = node.get_clock().now().to_msg()
    publisher.publish(message)


node.create_timer(1 / rate, publish)
with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
    rclpy.spin(node)
