"""`doctor --ros`: faults of start-up on a live graph are found, each with its fix."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_harness import CAMERA_FRAME, Robot, new_context, wait_for
from scripted_localizer import ScriptedLocalizer
from sensor_msgs.msg import CameraInfo, CompressedImage

from diff2i2p import graph_check
from diff2i2p.graph_check import GraphCheck
from diff2i2p.poses import stamp_from, stamped_transform
from diff2i2p.qos import latched_qos
from diff2i2p.transforms import StaticTransformBroadcaster
from diff2i2p_core.cli.main import app

QUICK, PATIENT = 0.6, 20.0
"""Seconds to wait for something that never comes, and for something that does."""


@pytest.fixture
def look(ros_context: Any) -> Callable[..., dict[str, dict[str, str]]]:
    def run(node: str = "/diff2i2p", seconds: float = QUICK) -> dict[str, dict[str, str]]:
        return {row["name"]: row for row in GraphCheck(ros_context, node, seconds).run()}

    return run


def _static(parent: str, child: str) -> Any:
    return stamped_transform(parent, child, stamp_from(0), np.eye(4))


def test_no_node(robot: Robot, look: Callable[..., Any]) -> None:
    found = look("/nobody")  # a /diff2i2p of an earlier test may still be in the graph
    assert [*found] == ["node"] and found["node"]["status"] == "missing"
    words = found["node"]["found"]
    assert words.startswith("no node /nobody; nodes here: ") and "/robot" in words


def test_two_nodes_of_one_name(
    robot: Robot, launch_node: Callable[..., Any], look: Callable[..., Any]
) -> None:
    for _ in range(2):
        launch_node(autostart=False)
    assert "several nodes are named /diff2i2p" in look()["node"]["found"]


def test_a_healthy_graph_and_then_each_fault(
    robot: Robot,
    launch_node: Callable[..., Any],
    map_file: str,
    look: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = launch_node(map=map_file, odom_frame="odom", base_frame="base_link").node
    robot.wait_camera_matched()
    info = robot.camera_info_message()
    info.header.frame_id = CAMERA_FRAME
    timer = robot.create_timer(0.05, lambda: robot.camera_info.publish(info))
    robot.static_broadcaster.sendTransform([_static("odom", "base_link"), _static("base_link", CAMERA_FRAME)])
    wait_for(lambda: "no image yet" in robot.status[1], "the node to have the calibration")
    found = look(seconds=PATIENT)
    good = ("image", "camera_info", "TF base_link <- camera_optical", "TF odom <- base_link")
    assert {name: found[name]["status"] for name in good} == dict.fromkeys(good, "ok")
    assert "no image yet" in found["diagnostics"]["found"]

    robot.static_broadcaster.sendTransform(_static("world", "odom"))
    robot.send_transform("map", "odom", 10**9, np.eye(4))
    robot.destroy_publisher(robot.image)
    node.set_parameters([Parameter("use_sim_time", value=True)])
    wait_for(lambda: not robot.get_publishers_info_by_topic("/image"), "the end of the image")
    repeat = robot.create_timer(0.05, lambda: robot.send_transform("map", "odom", 10**9, np.eye(4)))
    monkeypatch.setattr(graph_check, "TF_SECONDS", PATIENT)
    found = look(seconds=PATIENT)
    assert found["image"]["found"] == "nobody publishes /image" and found["image"]["fix"]
    assert "nobody publishes /clock" in found["clock"]["found"]
    assert found["TF odom"]["found"] == "'odom' has the parents map, world"
    robot.destroy_timer(timer)
    robot.destroy_timer(repeat)


def test_absent_frames_and_qos_that_does_not_fit(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, look: Callable[..., Any]
) -> None:
    override = {"qos_overrides./image.subscription.reliability": "reliable"}
    launch_node(map=map_file, base_frame="base_link", camera_frame=CAMERA_FRAME, **override)
    wait_for(lambda: robot.get_subscriptions_info_by_topic("/image"), "the node")
    found = look()
    assert "incompatible QoS on /image (robot: " in found["image"]["found"]
    assert found["camera_info"]["status"] == "ok"
    frames = found["TF base_link <- camera_optical"]
    assert frames["found"] == "nobody publishes 'base_link' or 'camera_optical'"
    assert frames["status"] == "missing" and "robot_state_publisher" in frames["fix"]


def test_a_calibration_that_was_published_once(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, look: Callable[..., Any]
) -> None:
    robot.destroy_publisher(robot.camera_info)
    robot.camera_info = robot.create_publisher(CameraInfo, "camera_info", latched_qos())
    info = robot.camera_info_message()
    info.header.frame_id = CAMERA_FRAME
    robot.camera_info.publish(info)
    launch_node(map=map_file, base_frame="base_link")
    robot.static_broadcaster.sendTransform([_static("base_link", CAMERA_FRAME)])
    robot.wait_camera_matched()
    assert look(seconds=PATIENT)["TF base_link <- camera_optical"]["status"] == "ok"


def test_odometry_from_a_topic_is_looked_for_there(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, look: Callable[..., Any]
) -> None:
    frames = {"odom_frame": "odom", "base_frame": "base_link", "camera_frame": CAMERA_FRAME}
    launch_node(map=map_file, odometry_source="topic", **frames)
    robot.static_broadcaster.sendTransform([_static("base_link", CAMERA_FRAME)])
    wait_for(lambda: robot.get_subscriptions_info_by_topic("/odom"), "the node")
    found = look()
    assert found["odometry"]["found"] == "nobody publishes /odom"
    assert [name for name in found if name.startswith("TF ")] == ["TF base_link <- camera_optical"]


@pytest.mark.slow
def test_the_command_shows_it(robot: Robot) -> None:
    result = CliRunner().invoke(app, ["doctor", "--ros", "--node", "/nobody", "--json"])
    assert result.exit_code == 2, result.output
    (row,) = json.loads(result.stdout)["checks"]
    assert row["status"] == "missing" and "no node /nobody; nodes here: " in row["found"]


def test_a_node_in_a_namespace(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, look: Callable[..., Any]
) -> None:
    launch_node(namespace="red", map=map_file)
    wait_for(lambda: "/red/image" in dict(robot.get_topic_names_and_types()), "the node")
    row = look()["node"]
    assert "nodes here: /red/diff2i2p, /robot" in row["found"]
    assert row["fix"] == "in a namespace: --node /red/diff2i2p"
    found = look("red/diff2i2p", PATIENT)
    assert found["diagnostics"]["found"] == "active: no camera_info yet"
    assert found["image"]["found"] == "nobody publishes /red/image"
    assert found["image"]["fix"] == "remap /red/image; published are: /image"


def test_stamps_losses_types_and_depth(
    robot: Robot,
    launch_node: Callable[..., Any],
    map_file: str,
    look: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ScriptedLocalizer, "needs_depth", True)
    health = launch_node(map=map_file, use_depth=True, image_timeout=60.0).node._health
    robot.wait_camera_matched()
    robot.calibrate()
    robot.send_image(1, 10**9)
    wait_for(lambda: health.counts["images_received"], "the image")
    health.images_lost(3)
    stranger_context = new_context()
    stranger = Node("stranger", context=stranger_context)
    stranger.create_publisher(CompressedImage, "depth", 1)
    wait_for(lambda: robot.get_publishers_info_by_topic("/depth"), "the wrong depth")
    second = StaticTransformBroadcaster(robot)
    second.sendTransform(_static("b", "camera"))
    robot.static_broadcaster.sendTransform(_static("a", "camera"))
    robot.wait_value("images_lost", "3")
    found = look(seconds=PATIENT)
    stranger.destroy_node()
    stranger_context.try_shutdown()
    assert found["image stamps"]["status"] == "note"
    assert found["image stamps"]["found"].endswith(" years before the node's clock")
    assert found["images"]["found"] == "3 images were lost on the way, 1 arrived"
    assert "/depth is published as sensor_msgs/msg/CompressedImage" in found["image /depth"]["found"]
    assert found["image /image"]["status"] == "ok"
    assert found["TF camera"]["found"] == "'camera' has the parents a, b"
