"""The camera's topics over DDS: latched calibrations, lost images, wrong types, images that come twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from subprocess import Popen
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from geometry_msgs.msg import PointStamped
from rclpy.node import Node
from ros_harness import Robot, compressed_message, image_message, new_context, stamp_of, wait_for
from scripted_localizer import HEIGHT, WIDTH
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2

from diff2i2p.health import Health
from diff2i2p.qos import latched_qos

OK, WARN, ERROR = 0, 1, 2
SECOND = 10**9


def latch_calibration(robot: Robot) -> None:
    robot.destroy_publisher(robot.camera_info)
    robot.camera_info = robot.create_publisher(CameraInfo, "camera_info", latched_qos())
    robot.camera_info.publish(robot.camera_info_message())


@pytest.mark.parametrize("override", [{}, {"durability": "transient_local", "reliability": "reliable"}])
def test_a_calibration_published_once_before_the_node_starts_is_heard(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, override: dict[str, str]
) -> None:
    latch_calibration(robot)
    name = "qos_overrides./camera_info.subscription"
    launch_node(map=map_file, **{f"{name}.{policy}": value for policy, value in override.items()})
    robot.wait_status(WARN, "no image yet")
    robot.localize(1, SECOND)


def test_a_latched_calibration_does_not_replace_a_newer_one(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    latch_calibration(robot)
    node = launch_node(map=map_file).node
    robot.wait_status(WARN, "no image yet")
    inputs = node._session._inputs
    newer = robot.camera_info_message()
    newer.header.stamp.sec, newer.k[0] = 9, 77.0
    inputs._on_camera_info(newer)
    older = robot.camera_info_message()
    older.header.stamp.sec = 8
    inputs._on_latched_camera_info(older)
    assert inputs._infos.camera(image_message(1, SECOND)).fx == 77.0


def test_an_image_that_comes_raw_and_later_compressed_is_used_once(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    node = launch_node(map=map_file).node
    robot.wait_camera_matched()
    wait_for(robot.compressed.get_subscription_count, "the compressed subscription")
    robot.calibrate()
    pixels = np.full((HEIGHT, WIDTH, 3), 9, np.uint8)
    for number in range(1, 5):
        robot.localize(number, number * SECOND)
        robot.compressed.publish(compressed_message(pixels, (number - 1) * SECOND or SECOND))
    arrived = node._health.image_loss._events
    wait_for(lambda: sum(event[1] for event in arrived) >= 8, "all images")
    assert [stamp_of(pose) // SECOND for pose in robot.poses] == [1, 2, 3, 4]
    assert node._health.counts["images_received"] == 4
    robot.poses.clear()
    robot.localize(1, SECOND)  # a recording that starts again


@pytest.fixture
def stranger() -> Iterator[Node]:
    """Of another process: a DDS participant cannot have two types on one topic."""
    context = new_context()
    node = Node("stranger", context=context)
    yield node
    node.destroy_node()
    context.try_shutdown()


WRONG_TYPES = {
    "image": (CompressedImage, "/image is published as sensor_msgs/msg/CompressedImage, but "),
    "camera_info": (PointStamped, "/camera_info is published as geometry_msgs/msg/PointStamped, but "),
}


@pytest.mark.parametrize("topic", WRONG_TYPES)
def test_a_topic_of_another_type_is_named(
    robot: Robot, stranger: Node, launch_node: Callable[..., Any], map_file: str, topic: str
) -> None:
    kind, words = WRONG_TYPES[topic]
    robot.destroy_publisher(robot.image)
    robot.destroy_publisher(robot.camera_info)
    wrong = stranger.create_publisher(kind, topic, 1)
    launch_node(map=map_file)
    values = robot.wait_status(ERROR, words)
    assert values[f"{topic}_faults"] == "1"
    stranger.destroy_publisher(wrong)  # a mistake that is over is not reported any more
    robot.create_camera()
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(1, SECOND)
    robot.wait_status(OK, "localized")


def test_the_topic_of_compressed_images_is_recognized(
    robot: Robot, stranger: Node, launch_node: Callable[..., Any], map_file: str
) -> None:
    stranger.create_publisher(CompressedImage, "/camera/image_raw/compressed", 1)
    launch_node(arguments=["-r", "image:=/camera/image_raw/compressed"], map=map_file)
    found = robot.wait_status(ERROR, "but sensor_msgs/msg/Image is needed; remap to /camera/image_raw, then ")
    assert found["state"] == "active"


def test_a_map_topic_of_another_type_is_named(
    robot: Robot, stranger: Node, launch_node: Callable[..., Any]
) -> None:
    robot.destroy_publisher(robot.cloud)
    stranger.create_publisher(PointStamped, "map_cloud", latched_qos())
    launch_node()
    robot.wait_status(ERROR, f"but sensor_msgs/msg/{PointCloud2.__name__} is needed; remap to another topic")


def test_a_stopped_camera_comes_before_the_fault_of_its_last_image(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    launch_node(map=map_file, odom_frame="odom", transform_timeout=0.02, image_timeout=0.5)
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(2, 3 * SECOND)
    robot.wait_status(ERROR, "localized, but the transform cannot be published")
    robot.wait_status(WARN, "no image for 0.5 s; before that: localized, but the transform cannot be ")


def test_lost_images_are_counted_and_a_warning(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    health: Health = launch_node(map=map_file).node._health
    robot.wait_camera_matched()
    robot.calibrate()
    for number in range(1, 16):
        robot.localize(number, number * SECOND)
    robot.wait_status(OK, "localized")
    health.images_lost(1)  # 1 of 16 is not worth a warning
    robot.localize(16, 16 * SECOND)
    assert health.judge()[0][0] == OK
    health.images_lost(20)
    robot.localize(17, 17 * SECOND)
    found = robot.wait_status(WARN, "localized, but 55% of the images are lost on the way: give the camera ")
    assert found["images_lost"] == "21"


@pytest.mark.slow
def test_losses_of_the_default_transport_are_noticed(
    robot: Robot, run_script: Callable[..., Popen[str]], launch_node: Callable[..., Any], map_file: str
) -> None:
    """A driver without the DDS profile: most images do not fit its shared memory."""
    node = launch_node(map=map_file).node
    driver = run_script("image_driver.py", 640, 480, 30)
    # On a busy machine, Python alone may take most of a minute to start; losses count from then on.
    wait_for(lambda: robot.count_publishers("image") > 1, "the driver beside the robot", 120)
    wait_for(lambda: node._health.counts["images_lost"] > 5, "lost images", 60)
    assert driver.poll() is None
