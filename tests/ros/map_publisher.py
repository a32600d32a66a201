"""A process that publishes a map and stays: `python map_publisher.py POINTS`."""

from __future__ import annotations

import sys
from contextlib import suppress

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from diff2i2p.clouds import cloud_message
from diff2i2p_core.geometry.point_cloud import PointCloud

rclpy.init()
node = Node("map_publisher")
topic = node.create_publisher(
    PointCloud2, "map_cloud", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
)
points = np.arange(3 * int(sys.argv[1]), dtype=np.float32).reshape(-1, 3)
topic.publish(cloud_message(PointCloud(points), Header(frame_id="map")))
with suppress(ExternalShutdownException):
    rclpy.spin(node)
