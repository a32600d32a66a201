"""Transitions over DDS: those that do not fit are refused, and nothing of a session is left after it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from ros_harness import Robot

OK = 0
SECOND = 10**9
CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
DEACTIVATE, CLEANUP = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP


def test_a_transition_that_does_not_fit_is_refused_and_the_node_lives_on(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, capfd: pytest.CaptureFixture[str]
) -> None:
    launch_node(map=map_file, autostart=False)
    for wrong in (ACTIVATE, DEACTIVATE, 99):
        assert not robot.change_state(wrong)
    assert (
        "transition 99 does not fit the state 'unconfigured', which has 1 (configure)"
        in capfd.readouterr().err
    )
    for right in (CONFIGURE, ACTIVATE):
        assert robot.change_state(right)
        assert not robot.change_state(CONFIGURE)
    unknown = ChangeState.Request(transition=Transition(label="explode"))
    assert not robot.call("change_state", unknown).success
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(1, SECOND)


def test_a_manager_that_configures_a_node_with_autostart(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    """As Nav2's does, without asking for the state first."""
    launch_node(map=map_file)
    robot.wait_camera_matched()
    assert not robot.change_state(CONFIGURE)
    robot.calibrate()
    robot.localize(1, SECOND)


def test_a_manager_that_is_faster_than_autostart(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    node = launch_node(map=map_file, autostart=False).node
    assert robot.change_state(CONFIGURE)
    node.start()
    assert node.state_name == "inactive"


def test_cleanup_releases_the_map(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    node = launch_node(map=map_file).node
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(1, SECOND)
    kept = [weakref.ref(node._session), weakref.ref(node._session.pipeline.localizer)]
    assert robot.change_state(DEACTIVATE) and robot.change_state(CLEANUP)
    assert [reference() for reference in kept] == [None, None]
