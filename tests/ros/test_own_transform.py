"""Others that publish the node's transform, or give its child frame another parent, over DDS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from rclpy.qos import ReliabilityPolicy
from ros_harness import CAMERA_FRAME, Robot, wait_for

from diff2i2p import own_transform
from diff2i2p.own_transform import OwnTransform
from diff2i2p.poses import stamp_from, stamped_transform

OK, WARN, ERROR = 0, 1, 2
SECOND = 10**9


def test_two_publishers_of_map_to_odom(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_transform, "FORGET", 1.0)
    launch_node(map=map_file, odom_frame="odom", image_timeout=60.0)
    robot.wait_camera_matched()
    robot.calibrate()
    robot.send_transform("odom", CAMERA_FRAME, SECOND, np.eye(4))
    robot.localize(1, SECOND)
    wait_for(lambda: robot.map_transforms, "map -> odom")
    robot.wait_status(OK, "localized")
    robot.send_transform("map", "odom", SECOND, np.eye(4))
    robot.wait_status(WARN, "localized, but another publisher sends map -> odom, too: stop it, or set ")
    wait_for(lambda: robot.status[1] == "localized", "the end of it")


def test_another_parent_of_the_camera(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    """As a driver publishes it: without base_frame and odom_frame, the tree is broken."""
    static = stamped_transform("camera_link", CAMERA_FRAME, stamp_from(0), np.eye(4))
    robot.static_broadcaster.sendTransform(static)
    launch_node(map=map_file, image_timeout=60.0)
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(1, SECOND)
    robot.wait_status(WARN, f"localized, but '{CAMERA_FRAME}' has another parent, 'camera_link': a frame has")


def test_time_that_jumps_back_forgets_what_moves() -> None:
    own = OwnTransform("map")
    own.sent(stamped_transform("map", "odom", stamp_from(1), np.eye(4)))
    other = stamped_transform("world", "odom", stamp_from(1), np.eye(4))
    own.received(other, static=False)
    assert "another parent, 'world'" in own.conflict
    own.reset()
    assert not own.conflict
    own.received(other, static=True)
    own.reset()
    assert own.conflict


def test_the_qos_of_tf_can_be_overridden(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    launch_node(map=map_file, **{"qos_overrides./tf.subscription.reliability": "best_effort"})
    robot.wait_camera_matched()
    (ours,) = (row for row in robot.get_subscriptions_info_by_topic("/tf") if row.node_name == "diff2i2p")
    assert ours.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
