"""The heartbeat that a lifecycle manager with its default bond_timeout waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")
pytest.importorskip("bond.msg", reason="needs the message type bond/Status, which a ROS installation has")

from bond.msg import Status
from lifecycle_msgs.msg import Transition
from ros_harness import Robot, wait_for


def test_the_active_node_beats_and_says_when_it_stops(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    heard: list[Any] = []
    robot.create_subscription(Status, "bond", heard.append, 10)
    launch_node(map=map_file)
    wait_for(lambda: len(heard) >= 3, "heartbeats")
    assert {(beat.id, beat.active) for beat in heard} == {("diff2i2p", True)}
    assert len({beat.instance_id for beat in heard}) == 1
    assert heard[0].heartbeat_timeout == 4.0

    assert robot.change_state(Transition.TRANSITION_DEACTIVATE)
    wait_for(lambda: not heard[-1].active, "the last word")
    first = heard[-1].instance_id
    assert robot.change_state(Transition.TRANSITION_ACTIVATE)
    wait_for(lambda: heard[-1].active, "the next life")
    assert heard[-1].instance_id != first
