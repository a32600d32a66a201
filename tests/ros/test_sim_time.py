"""Simulated time: a paused clock blocks nothing, and a jump back forgets what was known of later times."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from ros_harness import CAMERA_FRAME, Robot, wait_for
from rosgraph_msgs.msg import Clock

from diff2i2p.poses import stamp_from

OK, WARN, ERROR = 0, 1, 2
SECOND = 10**9


def test_a_bag_that_starts_again(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    clock = robot.create_publisher(Clock, "/clock", 10)
    node = launch_node(
        map=map_file, use_sim_time=True, odom_frame="odom", transform_timeout=0.05, prior_timeout=100.0
    ).node
    robot.wait_camera_matched()  # autostart needs no clock
    wait_for(clock.get_subscription_count, "the clock's subscription")
    clock.publish(Clock(clock=stamp_from(50 * SECOND)))
    robot.calibrate()
    robot.send_transform("odom", CAMERA_FRAME, 50 * SECOND, np.eye(4))
    robot.localize(5, 50 * SECOND)
    robot.wait_status(OK, "localized")
    wait_for(lambda: node.get_clock().now().nanoseconds == 50 * SECOND, "simulated time")

    localizer = node._session.pipeline.localizer
    localizer.gate = threading.Event()
    robot.send_image(7, 50 * SECOND + 1)  # still in work when the bag starts again: of a time to come then
    wait_for(lambda: len(localizer.calls) == 2, "work on it")
    clock.publish(Clock(clock=stamp_from(10 * SECOND)))
    wait_for(lambda: node.get_clock().now().nanoseconds == 10 * SECOND, "the jump back")
    localizer.gate.set()
    robot.send_transform("odom", CAMERA_FRAME, 10 * SECOND, np.eye(4))
    robot.localize(6, 10 * SECOND)
    robot.wait_status(OK, "localized")
    assert [call.number for call in localizer.calls] == [5, 7, 6]
    assert localizer.calls[-1].prior is None
    assert len(robot.poses) == 2
    assert len(node._session._outputs._path) == 1
    found = [t for t in robot.transforms if t.header.frame_id == "map"]
    wait_for(
        lambda: len([t for t in robot.transforms if t.header.frame_id == "map"]) == 2, f"both of {found}"
    )
