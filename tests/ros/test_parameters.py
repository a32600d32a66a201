"""The parameter table and what depends on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from rcl_interfaces.srv import DescribeParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from ros_harness import Robot

from diff2i2p.parameter_server import markdown_table
from diff2i2p.parameters import Parameters

REPO = Path(__file__).resolve().parents[2]


def test_the_documentation_has_the_current_table() -> None:
    """To fix it, put the output of diff2i2p.parameter_server.markdown_table() between the two marks."""
    text = (REPO / "docs/ros2.md").read_text(encoding="utf-8")
    table = text.split("markdown_table() -->\n")[1].split("<!-- end of parameters")[0]
    assert table == markdown_table()


def test_the_parameter_file_names_parameters_with_their_types() -> None:
    path = REPO / "ros2_ws/src/diff2i2p/config/localize.yaml"
    given = yaml.safe_load(path.read_text(encoding="utf-8"))["/**"]["ros__parameters"]
    defaults = {row.name: row.default for row in fields(Parameters)}
    assert {name: type(value) for name, value in given.items()} == {
        name: type(defaults[name]) for name in given
    }
    assert all(row.metadata["description"] for row in fields(Parameters))


def test_changes_at_run_time_are_atomic_and_reach_the_localizer(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    node = launch_node(map=map_file).node
    robot.wait_camera_matched()

    def change(**values: Any) -> tuple[bool, str]:
        messages = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        answer = robot.call("set_parameters_atomically", SetParametersAtomically.Request(parameters=messages))
        return answer.result.successful, answer.result.reason

    assert change(min_inliers=11, prior_timeout=7.5, mode="on_request") == (True, "")
    session = node._session
    settings = session.pipeline.localizer.settings
    assert settings.gates.min_inliers == 11 and settings.views.min_inliers == 11
    assert (session.parameters.prior_timeout, session.parameters.mode) == (7.5, "on_request")
    for bad, words in (
        ({"mode": "sometimes"}, "'sometimes' is not one of continuous, on_request"),
        ({"map_frame": "world"}, "parameter map_frame is in use; deactivate and clean the node up first"),
        ({"prior_distance": -1.0}, "prior_distance"),
        ({"autostart": False}, "read-only"),
        ({"publish_tf": "yes"}, "Wrong parameter type"),
    ):
        successful, reason = change(min_inliers=99, **bad)
        assert not successful and words in reason, reason
        assert node.get_parameter("min_inliers").value == 11
        assert session.pipeline.localizer.settings.gates.min_inliers == 11
    assert change(map_frame="map") == (True, "")  # as it is: a parameter file may be loaded again


def test_parameters_describe_themselves(robot: Robot, launch_node: Callable[..., Any]) -> None:
    launch_node(autostart=False)
    names = [row.name for row in fields(Parameters)]
    found = robot.call("describe_parameters", DescribeParameters.Request(names=names)).descriptors
    by_name = {descriptor.name: descriptor for descriptor in found}
    assert all(by_name[name].description for name in names)
    assert by_name["candidates"].integer_range[0].to_value == 100
    assert by_name["min_inlier_ratio"].floating_point_range[0].to_value == 1.0
    assert by_name["mode"].additional_constraints.startswith("One of: continuous, on_request.")
    assert [name for name in names if by_name[name].read_only] == ["autostart"]
