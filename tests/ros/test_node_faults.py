"""Bad messages, bad files and bad parameters over real DDS: named, counted, and the node keeps running."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from lifecycle_msgs.msg import Transition
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.parameter import Parameter
from ros_harness import CAMERA_FRAME, Robot, image_message, wait_for
from sensor_msgs.msg import CameraInfo, CompressedImage
from std_msgs.msg import Header

from diff2i2p.clouds import cloud_message
from diff2i2p_core.geometry.point_cloud import PointCloud

OK, WARN, ERROR = 0, 1, 2
SECOND = 10**9


BAD_IMAGES: dict[str, tuple[dict[str, Any], str]] = {
    "step": ({"step": 7}, "step 7 is less"),
    "short": ({"data": b"123"}, "3 bytes of data"),
    "encoding": ({"encoding": "nv24"}, "encoding 'nv24'"),
    "empty": ({"width": 0, "height": 0, "step": 0, "data": b""}, "size is 0x0"),
    "gigabytes": ({"width": 2**31, "height": 2**31, "step": 2**32 - 1}, "megapixels"),
    "other size": (
        {"height": 24, "data": bytes(24 * 192)},
        "image: 64x24 pixels, but the calibration is for 64x48",
    ),
}


def test_bad_images(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    launch_node(map=map_file)
    robot.wait_camera_matched()
    robot.calibrate()
    for count, (change, words) in enumerate(BAD_IMAGES.values(), start=1):
        message = image_message(1, count * SECOND)
        for name, value in change.items():
            setattr(message, name, value)
        robot.image.publish(message)
        values = robot.wait_status(ERROR, words)
        assert values["image_faults"] == str(count)
    nameless = image_message(1, 50 * SECOND)
    nameless.header.frame_id = ""
    robot.image.publish(nameless)
    robot.wait_status(ERROR, "the frame_id of its header is ''")
    bad = CompressedImage(format="jpeg", data=b"\xff\xd8 not a jpeg")
    bad.header.frame_id, bad.header.stamp.sec = CAMERA_FRAME, 60
    robot.compressed.publish(bad)
    robot.wait_status(ERROR, "is not a readable JPEG, PNG or WEBP")
    assert not robot.poses and not robot.transforms
    robot.localize(2, 70 * SECOND)
    robot.wait_status(OK, "localized")


def test_bad_camera_info_then_good(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    launch_node(map=map_file)
    robot.wait_camera_matched()
    robot.camera_info.publish(CameraInfo(width=64, height=48, k=[float("nan")] * 9))
    assert robot.wait_status(ERROR, "camera_info: camera: an intrinsic is NaN")["camera_info_faults"] == "1"
    robot.send_image(1, SECOND)  # without calibration nothing is done with it
    robot.wait_value("images_received", "1")
    robot.camera_info.publish(CameraInfo())  # what it is for depends on the image
    robot.send_image(1, 2 * SECOND)
    robot.wait_status(ERROR, "camera_info: camera: focal lengths")
    robot.calibrate()
    robot.wait_status(WARN, "no image processed yet")
    robot.localize(2, 3 * SECOND)
    robot.wait_status(OK, "localized")
    assert len(robot.poses) == 1


def test_bad_clouds_then_good(robot: Robot, launch_node: Callable[..., Any]) -> None:
    launch_node()
    robot.wait_camera_matched()
    points = np.ones((5, 3), np.float32)
    robot.send_cloud(points * np.nan)
    robot.wait_status(ERROR, "none of its 5 points is finite")
    robot.send_cloud(points[:0])
    robot.wait_status(ERROR, "holds no points")
    robot.send_cloud(points, frame="odom")
    robot.wait_status(ERROR, "it is in frame 'odom', the parameter map_frame is 'map'")
    absurd = cloud_message(PointCloud(points), Header(frame_id="map"))
    absurd.fields[1].offset = 2**31
    robot.cloud.publish(absurd)
    assert robot.wait_status(ERROR, "field 'y'")["map_cloud_faults"] == "4"
    robot.send_cloud(points)
    robot.wait_status(WARN, "no camera_info yet")
    robot.send_cloud(points * np.nan)  # a bad map does not replace a good one
    robot.wait_value("map_cloud_faults", "5")
    robot.calibrate()
    robot.localize(2, 2 * SECOND)


def test_a_crash_of_the_localizer_is_survived(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = launch_node(map=map_file).node
    robot.wait_camera_matched()
    robot.calibrate()
    localizer = node._session.pipeline.localizer
    good = localizer.localize

    def crash(*arguments: Any, **named: Any) -> Any:
        raise RuntimeError("CUDA out of memory")

    localizer.localize = crash
    robot.send_image(1, SECOND)
    robot.wait_status(ERROR, "image: RuntimeError: CUDA out of memory")
    localizer.localize = good
    robot.localize(2, 2 * SECOND)


def test_waiting_is_a_warning_and_then_an_error(
    robot: Robot, launch_node: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    node = launch_node(map_timeout=1000.0).node
    robot.wait_status(WARN, "waiting for the map")
    assert "no map file is given: waiting for a cloud on /map_cloud" in capfd.readouterr().err
    node.set_parameters([Parameter("map_timeout", value=0.5)])
    robot.wait_status(ERROR, "no map for 0.5 s")


def test_a_silent_camera_is_a_warning(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    launch_node(map=map_file, image_timeout=0.5)
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(1, SECOND)
    robot.wait_status(WARN, "no image for 0.5 s")


def test_a_missing_map_is_named_and_fixed_by_configuring_again(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    node = launch_node(map="/nowhere/room.map").node
    robot.wait_status(ERROR, "/nowhere/room.map: no such map; build one")
    assert not robot.change_state(Transition.TRANSITION_CONFIGURE)
    node.set_parameters([Parameter("map", value=map_file)])
    assert robot.change_state(Transition.TRANSITION_CONFIGURE)
    robot.wait_status(OK, "inactive")
    assert robot.change_state(Transition.TRANSITION_ACTIVATE)
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(1, SECOND)


def test_the_lifecycle_without_autostart(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    """Inactive means no camera and no pose; every state can be left and entered again."""
    launch_node(map=map_file, autostart=False)
    robot.wait_status(OK, "unconfigured")
    for _ in range(2):
        assert robot.change_state(Transition.TRANSITION_CONFIGURE)
        for start in (1, 3):
            assert not robot.image.get_subscription_count()
            assert robot.change_state(Transition.TRANSITION_ACTIVATE)
            robot.wait_camera_matched()
            robot.calibrate()
            robot.localize(start, time.monotonic_ns())
            assert robot.change_state(Transition.TRANSITION_DEACTIVATE)
            wait_for(lambda: not robot.image.get_subscription_count(), "the end of the subscription")
        assert robot.change_state(Transition.TRANSITION_CLEANUP)
    assert len(robot.poses) == 4
    assert robot.change_state(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    robot.wait_status(OK, "finalized")


def test_wrong_parameters_are_refused(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    with pytest.raises(InvalidParameterValueException, match="prior_timeout"):
        launch_node(prior_timeout=-1.0)
    with pytest.raises(InvalidParameterTypeException, match="publish_tf"):
        launch_node(publish_tf="yes")
    launch_node(map=map_file, image_transport="theora")
    robot.wait_status(ERROR, "parameter image_transport: 'theora' is not one of any, raw, compressed")


def test_equal_frames_are_refused(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    launch_node(map=map_file, odom_frame="map")
    robot.wait_status(ERROR, "'map' is also another frame's name")
