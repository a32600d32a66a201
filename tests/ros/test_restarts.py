"""Processes that die and come back, in any order, over real DDS: the node keeps working."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from ros_harness import CAMERA_FRAME, Robot, stamp_of, wait_for
from scripted_localizer import truth
from sensor_msgs.msg import PointCloud2

from diff2i2p.parameters import Parameters
from diff2i2p.pose_file import load_pose
from diff2i2p.qos import latched_qos

OK, WARN, ERROR = 0, 1, 2
SECOND = 10**9


def kill(process: Popen[str]) -> None:
    """At once; Fast DDS then leaves its shared memory behind, which is removed here."""
    started = Path(f"/proc/{process.pid}").stat().st_ctime
    mapped = {line.split()[-1] for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines()}
    process.kill()
    process.wait()
    for path in map(Path, mapped):
        if path.match("/dev/shm/fastrtps_*") and "port" not in path.name and path.stat().st_ctime >= started:
            path.unlink()
            path.with_name(f"{path.name}_el").unlink(missing_ok=True)


@pytest.mark.slow
def test_a_killed_node_resumes_where_it_was(
    robot: Robot,
    run_node: Callable[..., Popen[str]],
    map_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCRIPTED_SAVE", "0.1")
    pose_file = tmp_path / "pose.json"
    for life, expected in enumerate(("none", "used", "used")):
        node = run_node("scripted_node.py", map=map_file, initial_pose_file=pose_file)
        wait_for(lambda n=life: len(robot.maps) == n + 1, "the map", 60)  # type: ignore[misc]
        robot.calibrate()
        robot.localize(life + 1, (10 * life + 1) * SECOND)
        robot.wait_value("prior", expected)
        wait_for(lambda n=life: _saved(pose_file, map_file, n + 1), "the saved pose")  # type: ignore[misc]
        kill(node)
        robot.forget_diagnostics()


def _saved(pose_file: Path, map_file: str, number: int) -> bool:
    found = load_pose(pose_file, Parameters(), map_file)
    return found is not None and np.allclose(found, truth(number))


@pytest.mark.slow
def test_the_map_process_dies_and_returns(
    robot: Robot, launch_node: Callable[..., Any], run_script: Callable[..., Popen[str]]
) -> None:
    node = launch_node(prior_timeout=1000.0).node
    clouds: list[PointCloud2] = []
    robot.create_subscription(PointCloud2, "map_cloud", clouds.append, latched_qos())
    publisher = run_script("map_publisher.py", 10)
    wait_for(lambda: robot.maps, "the map", 60)
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(1, 1 * SECOND)
    first = node._session.pipeline.localizer

    kill(publisher)
    robot.localize(2, 2 * SECOND)
    publisher = run_script("map_publisher.py", 10)  # the same again
    wait_for(lambda: len(clouds) == 2, "the same map", 60)
    robot.localize(3, 3 * SECOND)
    assert node._session.pipeline.localizer is first and len(robot.maps) == 1
    assert [call.prior is None for call in first.calls] == [True, False, False]

    kill(publisher)
    run_script("map_publisher.py", 20)
    wait_for(lambda: len(robot.maps) == 2, "the other map", 60)
    assert robot.maps[-1].width == 20
    robot.localize(4, 4 * SECOND)
    (call,) = node._session.pipeline.localizer.calls
    assert call.prior is None
    robot.wait_status(OK, "localized")


def test_the_node_is_there_first(robot: Robot, launch_node: Callable[..., Any]) -> None:
    """Then map, camera and frames come one by one: each time, the node says what is still missing."""
    robot.destroy_publisher(robot.image)
    robot.destroy_publisher(robot.camera_info)
    launch_node(odom_frame="odom", base_frame="base_link", transform_timeout=0.05, transform_tolerance=0.0)
    robot.wait_status(WARN, "waiting for the map")
    robot.send_cloud(np.ones((5, 3), np.float32))
    robot.wait_status(WARN, "no camera_info yet")
    robot.create_camera()
    robot.wait_camera_matched()
    robot.calibrate()
    robot.wait_status(WARN, "no image yet")
    robot.send_image(1, 1 * SECOND)
    robot.wait_status(ERROR, "localized, but the transform cannot be published")
    for second in (1, 2, 3):
        robot.send_transform("odom", "base_link", second * SECOND, np.eye(4))
        robot.send_transform("base_link", CAMERA_FRAME, second * SECOND, np.eye(4))
    robot.localize(2, 2 * SECOND)
    robot.wait_status(OK, "localized")
    wait_for(lambda: robot.map_transforms, "map -> odom")
    assert stamp_of(robot.map_transforms[0]) == 2 * SECOND
