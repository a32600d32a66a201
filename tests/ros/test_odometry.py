"""Odometry over real DDS: the pose in the map at its rate, and odometry from a topic in place of TF."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from nav_msgs.msg import Odometry
from rclpy.publisher import Publisher
from ros_harness import CAMERA_FRAME, Robot, stamp_of, wait_for
from scripted_localizer import truth

from diff2i2p.poses import (
    matrix_from_pose,
    matrix_from_transform,
    stamp_from,
    stamped_pose,
    stamped_transform,
)
from diff2i2p_core.geometry.se3 import exp, invert

ERROR = 2
SECOND = 10**9
BASE_FROM_CAMERA = exp([0.1, 0.2, -1.2, 0.3, 0.0, 0.8])
MAP_FROM_ODOM = exp([0, 0, 0.7, 3.0, -2.0, 0.1])


def odom_from_base(number: int) -> np.ndarray:
    """The camera is at `truth(number)`."""
    found: np.ndarray = invert(MAP_FROM_ODOM) @ truth(number) @ invert(BASE_FROM_CAMERA)
    return found


def mount_camera(robot: Robot) -> None:
    mounting = stamped_transform("base_link", CAMERA_FRAME, stamp_from(0), BASE_FROM_CAMERA)
    robot.static_broadcaster.sendTransform([mounting])


def listen(robot: Robot) -> list[Odometry]:
    """What the node publishes, once it knows of the subscription."""
    heard: list[Odometry] = []
    subscription = robot.create_subscription(Odometry, "odometry", heard.append, 100)
    wait_for(lambda: robot.count_publishers("odometry"), "the node's publisher")
    assert subscription.topic_name == "/odometry"
    return heard


def wait_listened(node: Any) -> None:
    publisher = node._session._outputs._odometry._publisher
    wait_for(publisher.get_subscription_count, "the node's knowledge of the listener")


def test_the_pose_in_the_map_comes_with_each_odometry(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    mount_camera(robot)
    frames = {"odom_frame": "odom", "base_frame": "base_link"}
    node = launch_node(map=map_file, publish_tf=False, transform_hold=10.0, **frames).node
    robot.wait_camera_matched()
    heard = listen(robot)
    robot.calibrate()
    wait_listened(node)
    robot.send_transform("odom", "base_link", 10 * SECOND, odom_from_base(5))
    time.sleep(0.1)
    assert not heard  # nothing before the first localized image
    pose = robot.localize(5, 10 * SECOND)
    for tenth in range(1, 11):
        stamp = 10 * SECOND + tenth * SECOND // 10
        robot.send_transform("odom", "base_link", stamp, odom_from_base(5 + tenth))
        wait_for(lambda: heard and stamp_of(heard[-1]) == stamp, "odometry")  # noqa: B023
    assert not robot.map_transforms  # publish_tf is false
    last = heard[-1]
    assert (last.header.frame_id, last.child_frame_id) == ("map", "base_link")
    expected = truth(15) @ invert(BASE_FROM_CAMERA)
    np.testing.assert_allclose(matrix_from_pose(last.pose.pose, "pose"), expected, atol=1e-9)
    grown = np.reshape(last.pose.covariance, (6, 6)) - np.reshape(pose.pose.covariance, (6, 6))
    assert (np.linalg.eigvalsh(grown)[3:] > 0).all() and grown[5, 5] > 0
    count = len(heard)
    robot.send_transform("odom", "base_link", 21 * SECOND, odom_from_base(16))  # too long after the image
    assert robot.call("relocalize").success
    robot.send_transform("odom", "base_link", 22 * SECOND, odom_from_base(17))
    time.sleep(0.2)
    assert len(heard) == count


def test_a_driver_that_repeats_itself_is_published_once(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    node = launch_node(map=map_file, odom_frame="odom").node
    robot.wait_camera_matched()
    heard = listen(robot)
    robot.calibrate()
    wait_listened(node)
    robot.send_transform("odom", CAMERA_FRAME, SECOND, np.eye(4))
    robot.localize(5, SECOND)
    for _ in range(5):
        robot.send_transform("odom", CAMERA_FRAME, 2 * SECOND, np.eye(4))
    robot.send_transform("odom", CAMERA_FRAME, 3 * SECOND, np.eye(4))
    wait_for(lambda: heard and stamp_of(heard[-1]) == 3 * SECOND, "odometry")
    stamps = [stamp_of(one) for one in heard]
    assert len(set(stamps)) == len(stamps) and heard[-1].child_frame_id == CAMERA_FRAME


def odometry(stamp: int, number: int, **changes: str) -> Odometry:
    message = Odometry(child_frame_id=changes.get("child", "base_link"))
    pose = stamped_pose(changes.get("frame", "odom"), stamp_from(stamp), odom_from_base(number), np.eye(6))
    message.header, message.pose = pose.header, pose.pose
    message.twist.twist.linear.x = 0.25
    return message


def start_with_topic(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> tuple[Any, Publisher]:
    mount_camera(robot)
    frames = {"odom_frame": "odom", "base_frame": "base_link"}
    node = launch_node(map=map_file, odometry_source="topic", transform_timeout=0.5, **frames).node
    robot.wait_camera_matched()
    publisher = robot.create_publisher(Odometry, "odom", 10)
    wait_for(publisher.get_subscription_count, "the node's subscription")
    robot.calibrate()
    return node, publisher


def test_odometry_from_a_topic(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    node, publisher = start_with_topic(robot, launch_node, map_file)
    heard = listen(robot)
    wait_listened(node)
    for second in range(3):  # the robot's own filter also publishes a transform: it is not used
        publisher.publish(odometry((10 + second) * SECOND, 5))
        robot.send_transform("odom", "base_link", (10 + second) * SECOND, np.eye(4))
    robot.localize(5, 11 * SECOND)
    transform = wait_for(lambda: robot.map_transforms, "map -> odom")[-1]
    assert (transform.header.frame_id, transform.child_frame_id) == ("map", "odom")
    assert stamp_of(transform) == 11 * SECOND + SECOND // 10  # transform_tolerance with odometry
    np.testing.assert_allclose(matrix_from_transform(transform.transform), MAP_FROM_ODOM, atol=1e-9)
    publisher.publish(odometry(13 * SECOND, 7))
    wait_for(lambda: heard and stamp_of(heard[-1]) == 13 * SECOND, "the pose in the map")
    expected = truth(7) @ invert(BASE_FROM_CAMERA)
    np.testing.assert_allclose(matrix_from_pose(heard[-1].pose.pose, "pose"), expected, atol=1e-9)
    assert heard[-1].twist.twist.linear.x == 0.25
    robot.localize(7, 13 * SECOND)  # and odometry moves the prior
    prior = node._session.pipeline.localizer.calls[-1].prior
    np.testing.assert_allclose(prior, truth(7), atol=1e-9)


def test_odometry_of_other_frames_is_named(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    _, publisher = start_with_topic(robot, launch_node, map_file)
    bad = [odometry(SECOND, 5, frame="world"), odometry(SECOND, 5, child=""), odometry(0, 5)]
    bad.append(odometry(SECOND, 5))
    bad[-1].pose.pose.orientation.w += 3.0
    words = (
        "in 'world', the parameter odom_frame is 'odom'",
        "pose of ''",
        "stamp is zero",
        "the quaternion",
    )
    for count, (message, found) in enumerate(zip(bad, words, strict=True), start=1):
        publisher.publish(message)
        robot.wait_value("odom_faults", str(count))
        assert found in robot.status[2]["last_fault"]
    robot.localize(5, 2 * SECOND)  # the pose is given, the transform is not
    robot.wait_status(ERROR, "localized, but the transform cannot be published")


def test_without_odometry_transforms_are_not_dated_ahead(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    launch_node(map=map_file)
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(5, SECOND)
    assert stamp_of(wait_for(lambda: robot.transforms, "the transform")[-1]) == SECOND
