"""Names of the message types that are read, and their stamps."""

from __future__ import annotations

from typing import Any

from diff2i2p_core.messages.packets import PACKETS

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
IMAGES = (IMAGE, COMPRESSED, *PACKETS)
CLOUD, CAMERA_INFO = "sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/CameraInfo"
TRANSFORMS = "tf2_msgs/msg/TFMessage"
POSES = (
    "geometry_msgs/msg/PoseStamped",
    "geometry_msgs/msg/PoseWithCovarianceStamped",
    "geometry_msgs/msg/TransformStamped",
    "nav_msgs/msg/Odometry",
)


def stamp_of(message: Any) -> int:
    """A header's stamp in nanoseconds."""
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)
