"""Which calibration an image gets, over DDS: that of its stamp, in any order, with or without a size."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from ros_harness import Robot, compressed_message, image_message, wait_for
from scripted_localizer import HEIGHT, WIDTH, ScriptedLocalizer
from sensor_msgs.msg import CameraInfo

from diff2i2p.camera_infos import REMEMBERED, CameraInfos
from diff2i2p.poses import stamp_from

OK, WARN = 0, 1
SECOND = 10**9


def info(robot: Robot, stamp: int, focal: float) -> CameraInfo:
    message = robot.camera_info_message()
    message.header.stamp = stamp_from(stamp)
    message.k[0] = message.k[4] = focal
    return message


def send(robot: Robot, node: Any, message: CameraInfo) -> None:
    """Until the node has it: it is sent best effort."""
    stamp = message.header.stamp.sec * SECOND
    inputs = wait_for(lambda: node._session._inputs, "the node's inputs")
    until = time.monotonic() + 20
    while inputs._infos.last != stamp:
        assert time.monotonic() < until, "the node never took the calibration"
        robot.camera_info.publish(message)
        time.sleep(0.05)


def test_a_zooming_camera(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    node = launch_node(map=map_file).node
    robot.wait_camera_matched()
    for second in (1, 2, 3):
        send(robot, node, info(robot, second * SECOND, 60.0 + second))
    for second in (2, 3, 1):  # not necessarily in order
        robot.localize(second, second * SECOND) if second > 1 else robot.send_image(1, SECOND)
    calls = node._session.pipeline.localizer.calls
    assert [(call.number, call.camera.fx) for call in calls] == [(2, 62.0), (3, 63.0)]


def test_an_image_that_comes_before_its_calibration_waits_for_it(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    node = launch_node(map=map_file, max_speed=100.0).node
    robot.wait_camera_matched()
    send(robot, node, info(robot, 1 * SECOND, 61.0))
    robot.localize(1, 1 * SECOND)
    calls, inputs = node._session.pipeline.localizer.calls, node._session._inputs
    robot.send_image(2, 2 * SECOND)
    wait_for(lambda: inputs._held or len(calls) > 1, "the image")
    robot.camera_info.publish(info(robot, 2 * SECOND, 62.0))
    wait_for(lambda: len(calls) == 2, "work on it")
    robot.send_image(3, 3 * SECOND)
    wait_for(lambda: len(calls) == 3, "work on an image whose calibration was lost")
    robot.localize(4, 4 * SECOND)  # this camera's do not come in pairs: no more waiting
    expected = [(1, 61.0), (2, 62.0), (3, 62.0), (4, 62.0)]
    assert [(call.number, call.camera.fx) for call in calls] == expected


@pytest.mark.parametrize("compressed", [False, True])
def test_a_calibration_without_a_size(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, compressed: bool
) -> None:
    node = launch_node(map=map_file).node
    robot.wait_camera_matched()
    wait_for(robot.compressed.get_subscription_count, "the compressed subscription")
    message = info(robot, SECOND, 61.0)
    message.width = message.height = 0
    send(robot, node, message)
    if compressed:
        robot.compressed.publish(compressed_message(np.full((HEIGHT, WIDTH, 3), 5, np.uint8), SECOND))
        wait_for(lambda: robot.poses, "the pose")
    else:
        robot.localize(5, SECOND)
    camera = node._session.pipeline.localizer.calls[-1].camera
    assert (camera.width, camera.height, camera.fx) == (WIDTH, HEIGHT, 61.0)
    robot.wait_status(OK, "localized")


def test_a_jump_back_in_time_keeps_the_calibration(robot: Robot) -> None:
    infos = CameraInfos(rectified=False)
    infos.reset()
    assert infos.camera(image_message(1, SECOND)) is None
    for second in range(REMEMBERED + 2):
        infos.add(info(robot, second * SECOND, 60.0 + second))
    assert len(infos._cameras) == REMEMBERED
    camera = infos.camera(image_message(1, 5 * SECOND))
    assert camera is not None and camera.fx == 65.0
    infos.reset()
    camera = infos.camera(image_message(1, 5 * SECOND))
    assert camera is not None and camera.fx == 61.0 + REMEMBERED
    assert not infos.awaits(image_message(1, 500 * SECOND))


def test_doubts_about_the_calibration_are_a_warning(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ScriptedLocalizer.localize

    def doubtful(self: ScriptedLocalizer, *arguments: Any, **named: Any) -> Any:
        found = original(self, *arguments, **named)
        return (
            replace(found, warnings=("the calibration may be of another image",))
            if len(robot.poses) < 1
            else found
        )

    monkeypatch.setattr(ScriptedLocalizer, "localize", doubtful)
    launch_node(map=map_file)
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(1, 1 * SECOND)
    found = robot.wait_status(WARN, "localized, but the calibration may be of another image")
    assert found["warnings"] == "the calibration may be of another image"
    robot.localize(2, 2 * SECOND)
    assert robot.wait_status(OK, "localized")["warnings"] == "none"


def test_a_slow_result_is_reported_before_the_silence_of_the_camera(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image takes longer than `image_timeout`: its result is news all the same."""
    monkeypatch.setattr(ScriptedLocalizer, "delay", 1.0)
    launch_node(map=map_file, image_timeout=0.5)
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(1, time.time_ns())
    robot.wait_status(OK, "localized")
    robot.wait_status(WARN, "no image for 0.5 s")
