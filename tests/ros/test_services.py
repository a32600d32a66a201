"""The services over real DDS: what they do, and what they answer when they cannot."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from lifecycle_msgs.msg import Transition
from rclpy.parameter import Parameter
from ros_harness import Robot, wait_for
from scripted_localizer import ScriptedLocalizer, truth
from std_srvs.srv import Empty

import diff2i2p.session
from diff2i2p.parameters import Parameters
from diff2i2p.pose_file import load_pose
from diff2i2p_core.errors import InputError

WARN = 1
ERROR = 2
SECOND = 10**9
ALL = ("relocalize", "localize_once", "reload_map", "save_pose")


def test_answers_while_the_node_cannot_work(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    node = launch_node(map=map_file, autostart=False).node
    for service in ALL:
        answer = robot.call(service)
        assert (answer.success, "not configured" in answer.message) == (False, True)
    assert robot.change_state(Transition.TRANSITION_CONFIGURE)
    assert robot.call("localize_once").message == "the node is inactive; activate it"
    assert robot.call("relocalize").success and robot.call("reload_map").success
    assert "initial_pose_file is empty" in robot.call("save_pose").message
    assert robot.change_state(Transition.TRANSITION_ACTIVATE)
    robot.wait_camera_matched()
    pending = robot.ask("localize_once")
    wait_for(lambda: node._session._image_answers, "the request")
    assert robot.change_state(Transition.TRANSITION_DEACTIVATE)
    wait_for(pending.done, "the answer")
    assert pending.result().message == "the node was deactivated"


def test_images_on_request_only(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    node = launch_node(map=map_file, mode="on_request").node
    robot.wait_camera_matched()
    robot.calibrate()
    robot.send_image(1, SECOND)
    robot.wait_status(0, "waiting for a request")
    x, y, z = truth(2)[:3, 3]
    answers = (
        (2, True, f"localized at ({x:.2f}, {y:.2f}, {z:.2f}), 80 inliers"),
        (0, False, "not localized: too few inliers"),
    )
    for number, success, words in answers:
        pending = robot.ask("localize_once")
        wait_for(lambda: node._session._image_answers, "the request")
        robot.send_image(number, (5 - number) * SECOND)
        wait_for(pending.done, "the answer")
        assert (pending.result().success, pending.result().message) == (success, words)
    assert [call.number for call in node._session.pipeline.localizer.calls] == [2, 0]
    assert len(robot.poses) == 1


def test_a_request_without_images_is_answered_with_the_reason(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diff2i2p.session, "IMAGE_TIMEOUT", 0.1)
    launch_node(map=map_file)
    robot.wait_camera_matched()
    answer = robot.call("localize_once")
    assert (answer.success, answer.message) == (False, "no result within 0.1 s: no camera_info yet")


def test_relocalize_also_forgets_the_pose_of_an_image_in_work(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    node = launch_node(map=map_file, prior_timeout=100.0).node
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(1, 1 * SECOND)
    localizer = node._session.pipeline.localizer
    localizer.gate = threading.Event()
    robot.send_image(2, 2 * SECOND)
    wait_for(lambda: len(localizer.calls) == 2, "work on the second image")
    assert robot.call("relocalize").success
    localizer.gate.set()
    wait_for(lambda: len(robot.poses) == 2, "its pose")
    robot.localize(3, 3 * SECOND)
    robot.localize(4, 4 * SECOND)
    priors = [call.prior for call in localizer.calls]
    assert priors[0] is None and priors[2] is None
    np.testing.assert_allclose(priors[1], truth(1))
    np.testing.assert_allclose(priors[3], truth(3))


def test_the_service_of_behaviour_trees_forgets_the_pose(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    node = launch_node(map=map_file, prior_timeout=100.0).node
    client = robot.create_client(Empty, "reinitialize_global_localization")
    assert client.wait_for_service(10)
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(1, 1 * SECOND)
    wait_for(client.call_async(Empty.Request()).done, "the answer")
    robot.localize(2, 2 * SECOND)
    assert [call.prior for call in node._session.pipeline.localizer.calls] == [None, None]


def test_reload_map_takes_the_file_that_the_parameter_names(
    robot: Robot,
    launch_node: Callable[..., Any],
    map_file: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    node = launch_node(map=map_file).node
    robot.wait_camera_matched()
    first = node._session.pipeline.localizer
    assert robot.call("reload_map").message == f"loaded {map_file}"
    second = node._session.pipeline.localizer
    assert second is not first
    wait_for(lambda: len(robot.maps) == 2, "the map on its topic")
    log = capfd.readouterr().err
    assert log.count("active: images from") == 1 and log.count(f"now map {map_file} of") == 1
    node.set_parameters([Parameter("map", value=str(tmp_path / "none.map"))])
    answer = robot.call("reload_map")
    assert (answer.success, "none.map: no such map" in answer.message) == (False, True)
    assert node._session.pipeline.localizer is second  # and continues with it
    robot.calibrate()
    robot.localize(1, SECOND)
    assert robot.status[2]["map_file_faults"] == "1"


def test_a_map_that_is_being_loaded_is_not_loaded_again(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch_node(map=map_file)
    robot.wait_camera_matched()
    entered, proceed = threading.Event(), threading.Event()
    original = ScriptedLocalizer.open

    def slow(*arguments: Any, **named: Any) -> ScriptedLocalizer:
        entered.set()
        assert proceed.wait(10)
        return original(*arguments, **named)

    monkeypatch.setattr(ScriptedLocalizer, "open", slow)
    first = robot.ask("reload_map")
    assert entered.wait(10)
    assert robot.call("reload_map").message == "busy: the map is being loaded"
    proceed.set()
    wait_for(first.done, "the first answer")
    assert first.result().success


def test_the_pose_survives_a_node_that_is_killed(
    robot: Robot,
    launch_node: Callable[..., Any],
    map_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diff2i2p.session, "SAVE_PERIOD", 0.0)
    pose_file = tmp_path / "pose.json"
    launch_node(map=map_file, initial_pose_file=str(pose_file))
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(3, SECOND)
    wait_for(pose_file.exists, "the saved pose")
    found = load_pose(pose_file, Parameters(), map_file)
    assert found is not None
    np.testing.assert_allclose(found, truth(3), atol=1e-9)


def test_the_pose_survives_a_restart(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, tmp_path: Path
) -> None:
    pose_file = tmp_path / "pose.json"
    first = launch_node(map=map_file, initial_pose_file=str(pose_file))
    robot.wait_camera_matched()
    assert robot.call("save_pose").message == "there is no pose to save yet"
    robot.calibrate()
    robot.localize(1, 1 * SECOND)
    assert robot.call("save_pose").message == f"saved to {pose_file}"
    robot.localize(7, 2 * SECOND)
    first.close()  # saves the pose that came after the call
    assert load_pose(pose_file, Parameters(), map_file) is not None
    second = launch_node(map=map_file, initial_pose_file=str(pose_file)).node
    tracker = wait_for(lambda: second._session and second._session.pipeline._tracker, "the map")
    wait_for(lambda: tracker.state == "searching", "the prior")
    np.testing.assert_allclose(tracker._track.given.map_from_body, truth(7), atol=1e-9)


def test_saved_poses_that_are_not_for_this_node_are_named(tmp_path: Path) -> None:
    path = tmp_path / "pose.json"
    assert load_pose(path, Parameters(), "room.map") is None
    good = {"map": "room.map", "map_frame": "map", "body": "camera"}
    good |= {"position": [1, 2, 3], "orientation": [0, 0, 0, 1]}  # type: ignore[dict-item]
    path.write_text(json.dumps(good))
    found = load_pose(path, Parameters(), "room.map")
    assert found is not None and found[:3, 3].tolist() == [1, 2, 3]
    bad: list[tuple[str, str]] = [
        (json.dumps(good | {"map": "hall.map"}), "saved with map 'hall.map', now it is 'room.map'"),
        (json.dumps(good | {"body": "base_link"}), "saved with base_frame 'base_link'"),
        (json.dumps(good | {"position": [1, 2]}), "not a saved pose"),
        (json.dumps(good | {"orientation": [0, 0, 0, 0]}), "norm 0"),
        (json.dumps(good)[:20], "not a saved pose"),
        ("[]", "not a saved pose"),
        ("\x00", "not a saved pose"),
    ]
    for text, words in bad:
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            load_pose(path, Parameters(), "room.map")


def test_a_pose_file_that_cannot_be_written_is_named(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, tmp_path: Path
) -> None:
    """At configure, and if it stops being possible later, when it is written."""
    place = tmp_path / "place"
    place.touch()
    node = launch_node(map=map_file, initial_pose_file=str(place / "pose.json")).node
    robot.wait_status(ERROR, "parameter initial_pose_file: ")
    place.unlink()
    node.start()
    place.touch()
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(3, SECOND)
    answer = robot.call("save_pose")
    assert not answer.success and "pose.json: cannot be " in answer.message
    robot.localize(4, 2 * SECOND)  # and nothing else changes
