"""Loading another map by name over real DDS: what is answered, and that a failure changes nothing."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from nav_msgs.srv import LoadMap
from ros_harness import Robot, wait_for
from scripted_localizer import ScriptedLocalizer

from diff2i2p.map_names import map_path
from diff2i2p_core.errors import InputError

SECOND = 10**9
CODES = LoadMap.Response


@pytest.fixture
def load(robot: Robot) -> Callable[[str], int]:
    return lambda url: int(robot.call("load_map", LoadMap.Request(map_url=url)).result)


@pytest.fixture
def other(map_file: str) -> Path:
    """Another map, beside the first."""
    path = Path(map_file).with_name("hall.map")
    path.touch()
    return path


def test_a_map_is_loaded_by_its_name(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, other: Path, load: Callable[[str], int]
) -> None:
    node = launch_node(map=map_file).node
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(1, SECOND)
    assert load("hall") == CODES.RESULT_SUCCESS
    wait_for(lambda: len(robot.maps) == 2, "the map on its topic")
    robot.wait_value("map", str(other))
    assert node.get_parameter("map").value == str(other)
    robot.localize(2, 2 * SECOND)
    assert node._session.pipeline.localizer.calls[0].prior is None  # another map: the pose is forgotten
    assert robot.call("reload_map").message == f"loaded {other}"
    assert load(f"file://{map_file}") == CODES.RESULT_SUCCESS
    robot.wait_value("map", map_file)


def test_a_failure_changes_nothing(
    robot: Robot,
    launch_node: Callable[..., Any],
    map_file: str,
    other: Path,
    load: Callable[[str], int],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    node = launch_node(map=map_file, prior_timeout=100.0).node
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(1, SECOND)
    localizer = node._session.pipeline.localizer

    def broken(*arguments: Any, **named: Any) -> Any:
        raise InputError("hall.map: damaged")

    monkeypatch.setattr(ScriptedLocalizer, "open", broken)
    assert load("cellar") == load("http://maps/hall.map") == CODES.RESULT_MAP_DOES_NOT_EXIST
    assert load("hall") == CODES.RESULT_INVALID_MAP_DATA
    monkeypatch.undo()
    monkeypatch.setattr(ScriptedLocalizer, "warm_up", broken)  # fails as late as it can
    assert load("hall") == CODES.RESULT_INVALID_MAP_DATA
    log = capfd.readouterr().err
    for words in ("cellar: no such file", "give a name, a path, file://", "load_map: hall.map: damaged"):
        assert words in log
    assert node._session.pipeline.localizer is localizer
    assert node.get_parameter("map").value == map_file
    robot.localize(2, 2 * SECOND)
    assert localizer.calls[-1].prior is not None and robot.status[2]["map"] == map_file


def test_a_file_replaces_a_cloud(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, load: Callable[[str], int]
) -> None:
    points = np.arange(30, dtype=np.float32).reshape(10, 3)
    robot.send_cloud(points)
    node = launch_node().node
    robot.wait_camera_matched()
    wait_for(lambda: robot.maps, "the node's map")
    assert load(map_file) == CODES.RESULT_SUCCESS
    robot.wait_value("map", map_file)
    wait_for(lambda: not robot.cloud.get_subscription_count(), "the end of the subscription")
    assert node.get_parameter("map").value == map_file


def test_a_second_request_and_an_unconfigured_node(
    robot: Robot,
    launch_node: Callable[..., Any],
    map_file: str,
    load: Callable[[str], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launched = launch_node(map=map_file, autostart=False)
    assert load(map_file) == CODES.RESULT_UNDEFINED_FAILURE
    launched.node.start()
    robot.wait_camera_matched()
    entered, proceed = threading.Event(), threading.Event()
    original = ScriptedLocalizer.open

    def slow(*arguments: Any, **named: Any) -> ScriptedLocalizer:
        entered.set()
        assert proceed.wait(30)
        return original(*arguments, **named)

    monkeypatch.setattr(ScriptedLocalizer, "open", slow)
    first = robot.ask("load_map", LoadMap.Request(map_url=map_file))
    assert entered.wait(10)
    assert load(map_file) == CODES.RESULT_UNDEFINED_FAILURE
    proceed.set()
    wait_for(first.done, "the first answer")
    assert first.result().result == CODES.RESULT_SUCCESS


def test_which_file_a_name_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hall.map").touch()
    (tmp_path / "attic").touch()
    assert map_path("hall", tmp_path) == map_path("hall.map", tmp_path) == tmp_path / "hall.map"
    assert map_path("attic", tmp_path) == tmp_path / "attic"
    assert map_path("/maps/a b.map", tmp_path) == map_path("file:///maps/a%20b.map", tmp_path)
    monkeypatch.setenv("AMENT_PREFIX_PATH", sys.prefix)
    assert map_path("package://rclpy/hall.map", tmp_path) == Path(sys.prefix) / "share/rclpy/hall.map"
    monkeypatch.delenv("AMENT_PREFIX_PATH")
    for bad in (" ", "ftp://host/hall.map", "package://rclpy/hall.map"):
        with pytest.raises(InputError, match="load_map: "):
            map_path(bad, tmp_path)
