"""Tracking over real DDS: map -> odom all the time, jumps refused, a carried robot found again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from rclpy.duration import Duration
from rclpy.parameter import Parameter
from rclpy.time import Time
from ros_harness import CAMERA_FRAME, Robot, stamp_of, wait_for
from rosgraph_msgs.msg import Clock
from scripted_localizer import truth

from diff2i2p.poses import matrix_from_transform, stamp_from
from diff2i2p_core.geometry.se3 import exp, invert

OK, WARN, ERROR = 0, 1, 2
SECOND = 10**9
MAP_FROM_ODOM = exp([0, 0, 0.7, 3.0, -2.0, 0.1])


def send_odometry(robot: Robot, number: int, stamp: int) -> None:
    """The camera is at `truth(number)`."""
    robot.send_transform("odom", CAMERA_FRAME, stamp, invert(MAP_FROM_ODOM) @ truth(number))


def calibrated(robot: Robot) -> None:
    robot.wait_camera_matched()
    robot.calibrate()


def test_map_to_odom_is_there_all_the_time(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    tolerance = SECOND // 5
    node = launch_node(map=map_file, odom_frame="odom", transform_rate=50.0, transform_tolerance=0.2).node
    calibrated(robot)
    robot.send_image(0, time.time_ns())
    robot.wait_status(WARN, "not localized")
    assert not robot.map_transforms  # nothing before the first pose
    for number in (1, 2, 3):
        begin, stamp = len(robot.map_transforms), time.time_ns()
        send_odometry(robot, number, stamp)
        robot.localize(number, stamp)
        wait_for(lambda: len(robot.map_transforms) > begin + 5, "the transform again and again")  # noqa: B023
    for transform in robot.map_transforms:
        assert transform.child_frame_id == "odom"
        np.testing.assert_allclose(matrix_from_transform(transform.transform), MAP_FROM_ODOM, atol=1e-9)
    stamps = [stamp_of(transform) for transform in robot.map_transforms]
    assert stamp + tolerance in stamps  # of the image itself
    assert stamps[-1] > stamp + tolerance and time.time_ns() < stamps[-1] + SECOND
    send_odometry(robot, 3, stamps[-1])  # what a consumer sees now
    when = Time.from_msg(robot.map_transforms[len(stamps) - 1].header.stamp)
    seen = robot.buffer.lookup_transform("map", CAMERA_FRAME, when, Duration(seconds=5))
    np.testing.assert_allclose(matrix_from_transform(seen.transform), truth(3), atol=1e-9)
    # given up: by hand, by the rate, by age
    assert robot.call("relocalize").success
    assert quiet(robot)
    stamp = time.time_ns()
    send_odometry(robot, 4, stamp)
    robot.localize(4, stamp)
    wait_for(lambda: len(robot.map_transforms) > len(stamps) + 5, "the transform again")
    node.set_parameters([Parameter("transform_rate", value=0.0)])
    assert quiet(robot)
    node.set_parameters([Parameter("transform_rate", value=50.0)])
    assert not quiet(robot)
    node.set_parameters([Parameter("transform_hold", value=0.01)])
    assert quiet(robot)


def quiet(robot: Robot) -> bool:
    """Whether no transform comes for a while, in which several were due."""
    time.sleep(0.1)
    before = len(robot.map_transforms)
    time.sleep(0.3)
    return len(robot.map_transforms) == before


def test_in_simulated_time(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    clock = robot.create_publisher(Clock, "/clock", 10)
    node = launch_node(map=map_file, use_sim_time=True, odom_frame="odom", transform_tolerance=0.0).node
    robot.wait_camera_matched()
    wait_for(clock.get_subscription_count, "the clock's subscription")

    def tick(now: int) -> None:
        clock.publish(Clock(clock=stamp_from(now)))
        wait_for(lambda: node.get_clock().now().nanoseconds == now, "simulated time")

    tick(50 * SECOND)
    calibrated(robot)
    send_odometry(robot, 5, 50 * SECOND)
    robot.localize(5, 50 * SECOND)
    wait_for(lambda: len(robot.map_transforms) == 1, "the image's transform")
    assert quiet(robot)  # the clock stands
    for tenth in range(1, 6):
        tick(50 * SECOND + tenth * SECOND // 5)
        time.sleep(0.03)
    wait_for(lambda: len(robot.map_transforms) > 4, "the transform in simulated time")
    stamps = [stamp_of(transform) for transform in robot.map_transforms]
    assert all(stamp % (SECOND // 5) == 0 and stamp <= 51 * SECOND for stamp in stamps)
    assert len(set(stamps)) == len(stamps)
    tick(20 * SECOND)
    for tenth in range(1, 4):
        tick(20 * SECOND + tenth * SECOND // 5)
    assert quiet(robot) and all(stamp_of(t) >= 50 * SECOND for t in robot.map_transforms)
    send_odometry(robot, 6, 21 * SECOND)
    robot.localize(6, 21 * SECOND)
    for tenth in range(1, 6):
        tick(21 * SECOND + tenth * SECOND // 5)
        time.sleep(0.03)
    wait_for(lambda: len([t for t in robot.map_transforms if stamp_of(t) < 30 * SECOND]) > 2, "it again")


def test_a_carried_robot_is_found_again(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    """Odometry stands still; the camera is suddenly elsewhere."""
    launch_node(map=map_file, odom_frame="odom")
    calibrated(robot)
    words = []
    for second, number in enumerate((5, 5, 60, 60, 60, 60), start=100):
        send_odometry(robot, 5, second * SECOND)
        robot.send_image(number, second * SECOND)
        robot.wait_value("last_stamp", f"{second}.000000000")
        values = robot.status[2]
        words.append((values["tracking"], values["misses"], values["prior"], values["reason"].split(" ")[0]))
    assert words == [
        ("tracking", "0", "none", "none"),
        ("tracking", "0", "used", "none"),
        ("searching", "1", "used", "jump"),
        ("searching", "2", "none", "jump"),
        ("tracking", "0", "none", "none"),
        ("tracking", "0", "used", "none"),
    ]
    assert [stamp_of(pose) // SECOND for pose in robot.poses] == [100, 101, 104, 105]
    found = wait_for(lambda: robot.map_transforms, "map -> odom")[-1]
    expected = truth(60) @ invert(truth(5)) @ MAP_FROM_ODOM
    np.testing.assert_allclose(matrix_from_transform(found.transform), expected, atol=1e-9)
    robot.send_image(60, 104 * SECOND + 1)
    robot.wait_status(WARN, "not localized: stale (taken 1.000 s before")


def test_a_camera_outside_the_map(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = launch_node(map=map_file, max_image_age=0.0, map_margin=1.0).node
    calibrated(robot)
    extent = node._session.pipeline._tracker._extent
    monkeypatch.setattr(extent, "_high", np.array([5.0, 5.0, 5.0]))
    robot.send_image(100, 5 * SECOND)
    robot.wait_status(WARN, "not localized: outside the map (")
    robot.wait_value("tracking", "lost")
    node.set_parameters([Parameter("map_margin", value=20.0), Parameter("max_image_age", value=5.0)])
    robot.send_image(100, 6 * SECOND)
    robot.wait_status(WARN, "not localized: stale (taken ")
    node.set_parameters([Parameter("max_image_age", value=0.0)])
    robot.localize(100, 7 * SECOND)
