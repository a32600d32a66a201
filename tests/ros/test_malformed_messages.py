"""Malformed messages of every kind over real DDS: none stops the node, each is counted, good ones work."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

import message_strategies as anything
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from ros_harness import CAMERA_FRAME, Robot, stamp_of, wait_for
from scripted_localizer import HEIGHT, WIDTH, ScriptedLocalizer
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage

from diff2i2p.cameras import camera_from_info
from diff2i2p.clouds import cloud_from_message
from diff2i2p.images import check_depth, image_to_rgb
from diff2i2p.poses import matrix_from_pose, stamp_from
from diff2i2p.transform_inputs import check_transform
from diff2i2p_core.errors import InputError
from diff2i2p_core.messages.cameras import has_size

OK = 0
SECOND = 10**9


def drawn(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """The same messages in every run."""
    found: list[Any] = []

    @settings(max_examples=count, derandomize=True, deadline=None, database=None, phases=[Phase.generate])
    @given(strategy)
    def draw(message: Any) -> None:
        found.append(message)

    draw()
    return found


def malformed(strategy: st.SearchStrategy[Any], check: Callable[[Any], Any]) -> list[Any]:
    """Messages that `check` refuses. Each has its own stamp, as the node skips stamps that it has seen."""
    found = []
    for number, message in enumerate(drawn(strategy, 60), start=1):
        stamp = getattr(message, "header", message).stamp
        if 0 <= stamp.sec < SECOND and stamp.nanosec < SECOND and (stamp.sec or stamp.nanosec):
            stamp.sec, stamp.nanosec = 1, number
        try:
            check(message)
        except InputError:
            found.append(message)
    assert len(found) > 10
    return found


def throw(node: Any, publish: Callable[[Any], None], messages: list[Any], counter: str) -> None:
    """One by one: each is counted before the next is sent."""
    counts = node._health.counts
    for number, message in enumerate(messages, start=1):
        publish(message)
        wait_for(partial(lambda n: counts[counter] == n, number), f"{counter} {number} for {message}")


def localize(robot: Robot, number: int) -> None:
    """Afterwards the node works."""
    robot.calibrate()
    robot.localize(number, 2000 * SECOND)
    robot.wait_status(OK, "localized")


KINDS: dict[str, tuple[str, st.SearchStrategy[Any], Callable[[Any], Any], str]] = {
    "image": ("image", anything.IMAGES, image_to_rgb, "image_faults"),
    "compressed": ("compressed", anything.COMPRESSED, image_to_rgb, "image_faults"),
    # without a size, a calibration is only judged with an image
    "camera_info": (
        "camera_info",
        anything.CAMERA_INFOS.filter(has_size),
        camera_from_info,
        "camera_info_faults",
    ),
    "initialpose": (
        "initialpose",
        anything.INITIAL_POSES.filter(lambda message: message.header.frame_id == "map"),
        lambda message: matrix_from_pose(message.pose.pose, "initialpose"),
        "initialpose_faults",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_camera_and_initialpose(
    kind: str, robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    publisher, strategy, check, counter = KINDS[kind]
    node = launch_node(map=map_file).node
    robot.wait_camera_matched()
    topic = getattr(robot, publisher)
    wait_for(topic.get_subscription_count, "the subscription")
    if kind != "camera_info":
        robot.calibrate()
    messages = malformed(strategy, check)
    throw(node, topic.publish, messages, counter)
    robot.wait_value(counter, str(len(messages)))
    localize(robot, 3)


def test_depth(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScriptedLocalizer, "needs_depth", True)
    node = launch_node(map=map_file, use_depth=True).node
    depth = robot.create_publisher(Image, "depth", 10)
    wait_for(depth.get_subscription_count, "the depth's subscription")
    robot.wait_camera_matched()
    robot.calibrate()
    messages = malformed(anything.DEPTHS, check_depth)
    throw(node, depth.publish, messages, "depth_faults")
    robot.wait_value("depth_faults", str(len(messages)))
    good = Image(height=HEIGHT, width=WIDTH, encoding="32FC1", step=4 * WIDTH, data=bytes(4 * WIDTH * HEIGHT))
    good.header.stamp = stamp_from(2000 * SECOND)
    depth.publish(good)
    localize(robot, 3)


def test_clouds(robot: Robot, launch_node: Callable[..., Any]) -> None:
    node = launch_node().node
    wait_for(robot.cloud.get_subscription_count, "the cloud's subscription")
    in_map = anything.CLOUDS.filter(lambda message: message.header.frame_id == "map")
    messages = _in_turn(malformed(in_map, cloud_from_message))
    throw(node, robot.cloud.publish, messages, "map_cloud_faults")
    robot.wait_value("map_cloud_faults", str(len(messages)))
    robot.send_cloud(np.ones((5, 3), np.float32))
    wait_for(lambda: robot.maps, "the map")
    robot.wait_camera_matched()
    localize(robot, 3)


def _in_turn(clouds: list[Any]) -> list[Any]:
    """Without a cloud equal to the previous one: the node takes that as repeated."""
    return [cloud for before, cloud in zip([None, *clouds], clouds, strict=False) if cloud != before]


def test_transforms(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    frames = {"odom_frame": "odom", "transform_tolerance": 0.0}
    node = launch_node(map=map_file, transform_timeout=0.05, **frames).node
    robot.wait_camera_matched()
    robot.calibrate()
    bad = []
    for transform in drawn(anything.TRANSFORMS, 60):
        try:
            check_transform(transform)
        except InputError:
            bad.append(transform)
    assert len(bad) > 30
    publish = robot.broadcaster._publisher.publish
    throw(node, lambda one: publish(TFMessage(transforms=[one])), bad, "transform_faults")
    for second in (1998, 10**6, 2002):  # a single jump in time would make the rest too old
        robot.send_transform("odom", CAMERA_FRAME, second * SECOND, np.eye(4))
    robot.wait_value("transform_faults", str(len(bad) + 1))
    localize(robot, 3)
    assert [stamp_of(transform) for transform in robot.map_transforms][:1] == [2000 * SECOND]


def test_a_jump_that_others_confirm_is_accepted(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    node = launch_node(map=map_file, odom_frame="odom").node
    robot.wait_camera_matched()
    robot.calibrate()
    for second in (10, 2000, 2001):
        robot.send_transform("odom", CAMERA_FRAME, second * SECOND, np.eye(4))
    newest = node._session._transforms._newest
    wait_for(lambda: newest.get(CAMERA_FRAME) == 2001 * SECOND, "the last one")
    assert node._health.counts["transform_faults"] == 1


def test_all_at_once(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    """Good and bad messages of every type, as fast as they can be sent."""
    launch_node(map=map_file, odom_frame="odom", base_frame="base", camera_frame=CAMERA_FRAME)
    robot.wait_camera_matched()
    publishers = {
        robot.image: anything.IMAGES,
        robot.compressed: anything.COMPRESSED,
        robot.camera_info: anything.CAMERA_INFOS,
        robot.initialpose: anything.INITIAL_POSES,
        robot.broadcaster._publisher: anything.TF_MESSAGES,
        robot.static_broadcaster._publisher: anything.TF_MESSAGES,
    }
    for messages in zip(*(drawn(strategy, 40) for strategy in publishers.values()), strict=False):
        for publisher, message in zip(publishers, messages, strict=True):
            publisher.publish(message)
    for second in (1998, 2002):
        robot.send_transform("odom", "base", second * SECOND, np.eye(4))
        robot.send_transform("base", CAMERA_FRAME, second * SECOND, np.eye(4))
    localize(robot, 3)
