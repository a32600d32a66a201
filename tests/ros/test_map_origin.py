"""The origin of a georeferenced map over real DDS: a static transform to the coordinates of its cloud."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from nav_msgs.srv import LoadMap
from rclpy.duration import Duration
from rclpy.time import Time
from ros_harness import CAMERA_FRAME, Robot, wait_for
from scripted_localizer import ScriptedLocalizer, truth

from diff2i2p.poses import matrix_from_transform
from diff2i2p.transforms import TransformException
from diff2i2p_core.geometry.se3 import compose

ERROR = 2
SECOND = 10**9
UTM = (691_000.25, 5_334_000.5, 520.0)


@pytest.fixture
def georeferenced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps have an origin, but for those named plain."""
    original = ScriptedLocalizer.open

    def opened(map_path: Path, *arguments: Any, **named: Any) -> ScriptedLocalizer:
        localizer = original(map_path, *arguments, **named)
        if map_path.stem != "plain":
            localizer.map = replace(localizer.map, origin=UTM)
        return localizer

    monkeypatch.setattr(ScriptedLocalizer, "open", opened)


@pytest.mark.usefixtures("georeferenced")
def test_poses_can_be_looked_up_in_the_coordinates_of_the_cloud(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, capfd: pytest.CaptureFixture[str]
) -> None:
    node = launch_node(map=map_file, origin_frame="utm32").node
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(5, SECOND)
    found = robot.buffer.lookup_transform(
        "utm32", CAMERA_FRAME, Time(nanoseconds=SECOND), Duration(seconds=10)
    )
    expected = compose(np.eye(3), UTM) @ truth(5)
    np.testing.assert_allclose(matrix_from_transform(found.transform), expected, rtol=0, atol=1e-8)
    assert robot.status[2]["map_origin"] == "691000.25, 5334000.5, 520"
    Path(map_file).with_name("plain.map").touch()
    assert robot.call("load_map", LoadMap.Request(map_url="plain")).result == 0
    robot.wait_value("map_origin", "none")
    assert "the origin of the previous map is still on /tf_static" in capfd.readouterr().err
    assert node.get_parameter("map").value.endswith("plain.map")


@pytest.mark.usefixtures("georeferenced")
@pytest.mark.parametrize("parameters", [{"origin_frame": ""}, {"publish_tf": False}])
def test_the_origin_is_published_only_if_it_is_wanted(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, parameters: dict[str, Any]
) -> None:
    launch_node(map=map_file, **parameters)
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(5, SECOND)
    with pytest.raises(TransformException):
        robot.buffer.lookup_transform("utm", "map", Time())


def test_a_map_without_an_origin_has_no_parent(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    launch_node(map=map_file)
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(5, SECOND)
    wait_for(lambda: robot.transforms, "the transform")
    assert robot.status[2]["map_origin"] == "none"
    with pytest.raises(TransformException):
        robot.buffer.lookup_transform("utm", "map", Time())


def test_the_map_cannot_be_its_own_parent(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    launch_node(map=map_file, origin_frame="map")
    robot.wait_status(ERROR, "parameter map_frame: 'map' is also another frame's name; rename one")
