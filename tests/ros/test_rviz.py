"""RViz's configuration against a running node: each display finds its topic, type and QoS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from ros_harness import Robot, wait_for

REPO = Path(__file__).resolve().parents[2]
TYPES = {
    "PointCloud2": "sensor_msgs/msg/PointCloud2",
    "PoseWithCovariance": "geometry_msgs/msg/PoseWithCovarianceStamped",
    "Path": "nav_msgs/msg/Path",
    "Image": "sensor_msgs/msg/Image",
    "SetInitialPose": "geometry_msgs/msg/PoseWithCovarianceStamped",
}
"""Of rviz_default_plugins' displays and tools."""
CAMERA = "/camera/image_raw"
"""The launch file's default."""


def test_every_display_fits_a_topic_of_the_node(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    launch_node(map=map_file)
    robot.wait_camera_matched()
    rviz = yaml.safe_load((REPO / "ros2_ws/src/diff2i2p/rviz/localize.rviz").read_text(encoding="utf-8"))
    manager = rviz["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == "map"
    rows = [row for row in (*manager["Displays"], *manager["Tools"]) if "Topic" in row]
    ours = set()
    for row in rows:
        topic, kind = row["Topic"]["Value"], row["Class"].partition("/")[2]
        wanted = _qos(row["Topic"])
        if kind == "SetInitialPose":
            (end,) = wait_for(lambda name=topic: robot.get_subscriptions_info_by_topic(name), topic)  # type: ignore[misc]
            offered, asked = wanted, _plain(end.qos_profile)
        else:
            name = "/image" if topic == CAMERA else topic  # as it is without the launch file
            wait_for(lambda name=name: robot.get_publishers_info_by_topic(name), name)  # type: ignore[misc]
            end = robot.get_publishers_info_by_topic(name)[0]
            offered, asked = _plain(end.qos_profile), wanted
            ours |= {name} if end.node_name == "diff2i2p" else set()
        assert end.topic_type == TYPES[kind], topic
        fit, reason = qos_check_compatible(offered, asked)
        assert fit != QoSCompatibility.ERROR, f"{topic}: {reason}"
    assert ours == {"/pose", "/path", "/diff2i2p/map", "/diff2i2p/inliers", "/diff2i2p/debug_image"}
    assert f'"{CAMERA[1:]}"' in (REPO / "launch/localize.launch.py").read_text(encoding="utf-8")


def _plain(found: QoSProfile) -> QoSProfile:
    """Without deadlines: the graph's "none" is not that of a new profile."""
    return QoSProfile(depth=1, durability=found.durability, reliability=found.reliability)


def _qos(topic: dict[str, Any]) -> QoSProfile:
    policies = {
        "durability": DurabilityPolicy[topic.get("Durability Policy", "Volatile").upper().replace(" ", "_")],
        "reliability": ReliabilityPolicy[
            topic.get("Reliability Policy", "Reliable").upper().replace(" ", "_")
        ],
    }
    return QoSProfile(depth=topic.get("Depth", 5), **policies)
