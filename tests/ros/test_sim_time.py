"""Simulated time: a paused clock blocks nothing, and a jump back forgets later times."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from ros_harness import CAMERA_FRAME, Robot, stamp_of, wait_for
from rosgraph_msgs.msg import Clock
from scripted_localizer import truth

from diff2i2p.poses import matrix_from_transform, stamp_from
from diff2i2p_core.geometry.se3 import exp, invert

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
    # Still in work when the bag restarts, so its stamp is then in the future.
    robot.send_image(7, 50 * SECOND + 1)
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


def test_a_bag_that_is_played_twice(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    """In the second run the robot is elsewhere in odom: data of the same stamps is forgotten."""
    clock = robot.create_publisher(Clock, "/clock", 10)
    node = launch_node(
        map=map_file, use_sim_time=True, odom_frame="odom", transform_timeout=2.0, prior_timeout=100.0
    ).node
    robot.wait_camera_matched()
    wait_for(clock.get_subscription_count, "the clock's subscription")
    for play in (1, 2):
        for tenth in range(10):
            stamp = 30 * SECOND + tenth * SECOND // 10
            clock.publish(Clock(clock=stamp_from(stamp)))
            wait_for(lambda now=stamp: node.get_clock().now().nanoseconds == now, "simulated time")  # type: ignore[misc]
            if not tenth:
                robot.calibrate()
            elsewhere = exp([0, 0, 0, play, 0, 0])
            robot.send_transform("odom", CAMERA_FRAME, stamp, elsewhere @ truth(tenth + 1))
            robot.send_image(tenth + 1, stamp)
            count = 10 * (play - 1) + tenth + 1
            wait_for(lambda n=count: len(robot.poses) == n, f"pose {count}")  # type: ignore[misc]
    wait_for(lambda: len({stamp_of(one) for one in robot.map_transforms}) >= 10, "the transforms")
    robot.wait_status(OK, "localized")
    assert node._health.counts["images_localized"] == 20 and node._health.counts["tf_faults"] == 0
    assert len(node._session._outputs._path) == 10
    last = matrix_from_transform(robot.map_transforms[-1].transform)
    np.testing.assert_allclose(last, invert(exp([0, 0, 0, 2, 0, 0])), atol=1e-9)
