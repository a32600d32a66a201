"""Outputs other than pose and transform, depth input, QoS, and several nodes at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path as FilePath
from typing import Any, cast

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from nav_msgs.msg import Path
from rclpy.parameter import Parameter
from rclpy.qos import ReliabilityPolicy
from ros_harness import CAMERA_FRAME, Robot, Spinning, stamp_of, wait_for
from scripted_localizer import HEIGHT, WIDTH, ScriptedLocalizer
from sensor_msgs.msg import Image, PointCloud2

from diff2i2p.health import Health
from diff2i2p.images import image_to_rgb
from diff2i2p.poses import stamp_from

OK, WARN, ERROR = 0, 1, 2
SECOND = 10**9
REPO = FilePath(__file__).resolve().parents[2]


def test_path_is_bounded_and_pictures_are_made_only_for_subscribers(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    node = launch_node(map=map_file, path_length=3).node
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(1, 1 * SECOND)
    paths: list[Path] = []
    pictures: list[Image] = []
    clouds: list[PointCloud2] = []
    robot.create_subscription(Path, "path", paths.append, 10)
    robot.create_subscription(Image, "diff2i2p/debug_image", pictures.append, 10)
    robot.create_subscription(PointCloud2, "diff2i2p/inliers", clouds.append, 10)
    outputs = node._session._outputs
    topics = (outputs._path_topic, outputs._debug_image, outputs._inliers)
    wait_for(lambda: all(topic.get_subscription_count() for topic in topics), "the subscriptions")
    for number in range(2, 6):
        robot.localize(number, number * SECOND)
    robot.send_image(0, 6 * SECOND)  # not localized: a picture, but no pose
    wait_for(lambda: len(paths) == 4 and len(pictures) == 5 and len(clouds) == 5, "all of it")
    assert [stamp_of(pose) // SECOND for pose in paths[-1].poses] == [3, 4, 5]
    assert (pictures[-1].width, pictures[-1].height) == (WIDTH, HEIGHT)
    assert image_to_rgb(pictures[0]).std() > 0  # something is drawn on the plain image
    assert clouds[0].width == 2 and clouds[0].header.frame_id == "map"
    assert pictures[-1].header.frame_id == CAMERA_FRAME and stamp_of(pictures[-1]) == 6 * SECOND


def _depth_message(stamp: int, metres: float) -> Image:
    numbers = np.full((HEIGHT, WIDTH), 1000 * metres, "<u2")
    message = Image(height=HEIGHT, width=WIDTH, encoding="16UC1", step=2 * WIDTH, data=numbers.tobytes())
    message.header.stamp = stamp_from(stamp)
    return message


def test_depth_goes_with_the_image_of_its_time(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScriptedLocalizer, "needs_depth", True)
    node = launch_node(map=map_file, use_depth=True, depth_tolerance=0.01, image_timeout=0.5).node
    robot.wait_camera_matched()
    depth = robot.create_publisher(Image, "depth", 10)
    wait_for(depth.get_subscription_count, "the depth's subscription")
    robot.calibrate()
    for number in (1, 2):
        robot.send_image(number, number * SECOND)
        wait_for(partial(lambda n: node._health.counts["images_received"] == n, number), "the image")
    depth.publish(_depth_message(2 * SECOND + 5_000_000, 1.5))
    wait_for(lambda: robot.poses, "the pose")
    calls = node._session.pipeline.localizer.calls
    assert [call.number for call in calls] == [2]
    np.testing.assert_allclose(calls[0].depth, 1.5)
    assert node._health.counts["images_without_depth"] == 1
    broken = _depth_message(3 * SECOND, 1.0)
    broken.step = 1
    depth.publish(broken)
    robot.wait_status(ERROR, "depth: step 1 is less")
    depth.publish(_depth_message(4 * SECOND, 1.0))
    robot.localize(4, 4 * SECOND)
    robot.wait_status(OK, "localized")

    def late() -> bool:  # the camera continues, the depth has stopped
        robot.send_image(2, robot.get_clock().now().nanoseconds)
        return "no depth with the stamps of the images" in robot.status[1]

    wait_for(late, "the warning")


def test_weights_that_need_depth_say_so(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScriptedLocalizer, "needs_depth", True)
    launch_node(map=map_file)
    robot.wait_status(ERROR, "the matcher or the weights need depth images: set use_depth")


def test_qos_can_be_overridden_and_a_mismatch_is_named(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    """The robot's camera is best effort: a node that asks for reliable images gets none."""
    launch_node(map=map_file, **{"qos_overrides./image.subscription.reliability": "reliable"})
    robot.wait_status(ERROR, "a publisher on image offers less reliability than the node requests")
    (image,) = robot.get_subscriptions_info_by_topic("/image")
    (info,) = robot.get_subscriptions_info_by_topic("/camera_info")
    assert image.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    assert info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT


def test_a_map_that_is_not_latched_is_named(robot: Robot, launch_node: Callable[..., Any]) -> None:
    robot.destroy_publisher(robot.cloud)
    robot.cloud = robot.create_publisher(PointCloud2, "map_cloud", 1)
    launch_node()
    robot.wait_status(ERROR, "a publisher on map_cloud offers less durability than the node requests")


def test_an_impossible_qos_is_named(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    launch_node(map=map_file, **{"qos_overrides./image.subscription.reliability": "perfect"})
    robot.wait_status(ERROR, "QoS override for policy `reliability`: `perfect`")


def test_two_nodes_in_namespaces_of_their_own(
    ros_context: Any, launch_node: Callable[..., Any], robot: Robot, map_file: str
) -> None:
    """Each receives its own camera and publishes its own pose; the frames keep them apart in TF."""

    def calibrated(own: Robot, health: Health) -> bool:
        own.camera_info.publish(own.camera_info_message())
        return "camera_info" in health.seen

    with ExitStack() as robots:
        for number, name in enumerate(("red", "blue"), start=1):
            frames = {"map_frame": f"{name}/map", "camera_frame": f"{name}/camera"}
            health = launch_node(namespace=name, map=map_file, **frames).node._health
            spinning = robots.enter_context(
                closing(Spinning(Robot(ros_context, namespace=name), ros_context))
            )
            own = cast("Robot", spinning.node)
            own.wait_camera_matched()
            wait_for(partial(calibrated, own, health), "the calibration")
            own.localize(number, number * SECOND)
            assert [pose.header.frame_id for pose in own.poses] == [f"{name}/map"]
        wait_for(lambda: len(robot.transforms) == 2, "both transforms")
        children = {(t.header.frame_id, t.child_frame_id) for t in robot.transforms}
        assert children == {("red/map", "red/camera"), ("blue/map", "blue/camera")}
        names = {"red/diff2i2p: localization", "blue/diff2i2p: localization"}
        wait_for(lambda: names == {status.name for status in robot.diagnostics}, "both diagnostics")


def test_a_new_path_length_takes_effect_at_once(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    node = launch_node(map=map_file).node
    robot.wait_camera_matched()
    robot.calibrate()
    for number in range(1, 4):
        robot.localize(number, number * SECOND)
    node.set_parameters([Parameter("path_length", value=2)])
    robot.localize(4, 4 * SECOND)
    assert [stamp_of(pose) // SECOND for pose in node._session._outputs._path] == [3, 4]


def test_every_key_of_the_diagnostics_is_documented(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    launch_node(map=map_file)
    robot.wait_camera_matched()
    robot.calibrate()
    robot.image.publish(Image())
    robot.wait_status(ERROR, "image: the time stamp is zero")
    robot.localize(1, SECOND)
    found = robot.wait_status(OK, "localized")
    documented = (REPO / "docs/ros2.md").read_text(encoding="utf-8").split("| key | what |")[1]
    rows = documented.split("\n\n")[0].splitlines()[2:]
    of_several_cameras = {"cameras", "silent_cameras", "topics_NAME"}
    stages = {  # those of all matchers and maps
        f"latency_{stage}_ms"
        for path in (REPO / "diff2i2p_core" / "localization").glob("*.py")
        for stage in re.findall(r'clock\.spent\("(\w+)"\)', path.read_text(encoding="utf-8"))
    }
    assert {"latency_match_ms", "latency_search_ms"} <= stages
    assert {row.split("`")[1] for row in rows} == set(found) | of_several_cameras | stages
