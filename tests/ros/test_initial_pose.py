"""Initial poses over real DDS: by topic, service and parameter, and how far answers may be from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import OccupancyGrid
from nav_msgs.srv import SetMap
from ros_harness import Robot, wait_for
from scripted_localizer import truth

from diff2i2p.initial_pose import pose_from_message, pose_from_parameter
from diff2i2p.parameters import Parameters
from diff2i2p.poses import stamp_from, stamped_pose
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import exp

WARN, ERROR = 1, 2
SECOND = 10**9
RVIZ = np.diag([0.25, 0.25, 0, 0, 0, 0.06853891945200942])
"""The covariance of RViz's 2D Pose Estimate: 0.5 m and 15 degrees."""


def message(pose: np.ndarray, covariance: np.ndarray | None = None) -> PoseWithCovarianceStamped:
    return stamped_pose("map", stamp_from(0), pose, np.zeros((6, 6)) if covariance is None else covariance)


def off(metres: float) -> np.ndarray:
    """A pose this far from that of image 5."""
    moved: np.ndarray = exp([0, 0, 0, metres, 0, 0]) @ truth(5)
    return moved


def calibrated(robot: Robot) -> None:
    robot.wait_camera_matched()
    robot.calibrate()


def test_the_covariance_says_how_far_answers_may_be(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    node = launch_node(map=map_file).node
    calibrated(robot)
    tracker = node._session.pipeline._tracker

    def give(pose: np.ndarray, covariance: np.ndarray) -> None:
        robot.initialpose.publish(message(pose, covariance))
        wait_for(lambda: tracker._track.given is not None, "the initial pose")

    give(off(1.6), RVIZ)
    robot.send_image(5, 1 * SECOND)
    robot.wait_status(WARN, "not localized: jump (1.60 m and 0 deg from where")
    assert node._session.pipeline.localizer.calls[-1].prior is not None
    give(off(1.4), RVIZ)
    robot.localize(5, 2 * SECOND)
    give(off(4.0), np.diag([2.25, 2.25, 0, 0, 0, 0.05]))  # 4.5 m: more than is searched near a prior
    robot.localize(5, 3 * SECOND)
    assert node._session.pipeline.localizer.calls[-1].prior is None
    give(off(1.9), np.zeros((6, 6)))  # not known: as far as priors may
    robot.localize(5, 4 * SECOND)


def test_the_service_takes_a_pose_and_answers(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, capfd: pytest.CaptureFixture[str]
) -> None:
    node = launch_node(map=map_file).node
    calibrated(robot)

    def ask(request: SetMap.Request) -> bool:
        return bool(robot.call("set_initial_pose", request).success)

    assert ask(SetMap.Request(initial_pose=message(off(0.2), RVIZ)))
    robot.localize(5, SECOND)
    prior = node._session.pipeline.localizer.calls[-1].prior
    np.testing.assert_allclose(prior, off(0.2), atol=1e-9)
    odd = message(off(0.2), -RVIZ)
    elsewhere = message(off(0.2))
    elsewhere.header.frame_id = "odom"
    faults = {
        "its covariance has negative variances": SetMap.Request(initial_pose=odd),
        "it is in frame 'odom'": SetMap.Request(initial_pose=elsewhere),
        "leave `map` empty": SetMap.Request(map=OccupancyGrid(data=[0]), initial_pose=message(off(0.0))),
    }
    for words, request in faults.items():
        assert not ask(request)
        assert words in capfd.readouterr().err
    robot.wait_value("initialpose_faults", "2")


def test_a_pose_that_comes_before_the_map_is_refused(robot: Robot, launch_node: Callable[..., Any]) -> None:
    launch_node()
    assert not robot.call("set_initial_pose", SetMap.Request(initial_pose=message(off(0.0)))).success
    fault = "initialpose: there is no map yet; send it again when there is one"
    robot.wait_value("last_fault", fault)


def test_the_parameter_is_the_first_prior(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    node = launch_node(map=map_file, initial_pose="0.5, 2, 1.5, 0,0,0, 1").node
    calibrated(robot)
    robot.send_image(5, SECOND)
    calls = node._session.pipeline.localizer.calls
    wait_for(lambda: calls, "the image")
    np.testing.assert_allclose(calls[0].prior, exp([0, 0, 0, 0.5, 2, 1.5]))


def test_a_saved_pose_comes_before_the_parameter(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, tmp_path: Path
) -> None:
    pose_file = str(tmp_path / "pose.json")
    first = launch_node(map=map_file, initial_pose_file=pose_file)
    calibrated(robot)
    robot.localize(5, SECOND)
    first.close()
    second = launch_node(map=map_file, initial_pose_file=pose_file, initial_pose="9,9,9,0,0,0,1").node
    tracker = wait_for(lambda: second._session and second._session.pipeline._tracker, "the map")
    given = wait_for(lambda: tracker._track.given, "the prior")
    np.testing.assert_allclose(given.map_from_body, truth(5), atol=1e-9)


def test_a_wrong_parameter_is_named(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    launch_node(map=map_file, initial_pose="1,2,3")
    robot.wait_status(ERROR, "parameter initial_pose '1,2,3': expected x,y,z,yaw (metres, radians) or x,y,")


def test_the_forms_of_the_parameter() -> None:
    assert pose_from_parameter(Parameters()) is None
    found = pose_from_parameter(Parameters(base_frame="base_link", initial_pose="1,2,3,1.5"))
    assert found is not None and found.within is None
    np.testing.assert_allclose(found.map_from_body, exp([0, 0, 0, 1, 2, 3]) @ exp([0, 0, 1.5, 0, 0, 0]))
    faults = {
        "1,2,3,0.5": "it is the pose of the camera's optical frame, which needs x,y,z,qx",
        "1,2,3,0,0,0,0": "no unit quaternion",
        "1,2,nan,0,0,0,1": "expected x,y,z,yaw",
        "here": "'here': expected x,y,z,yaw",
    }
    for text, words in faults.items():
        with pytest.raises(InputError, match=words):
            pose_from_parameter(Parameters(initial_pose=text))


def test_the_worst_direction_of_a_covariance_counts() -> None:
    turn = exp([0.3, 0.2, 0.1, 0, 0, 0])[:3, :3]
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = turn @ np.diag([1.0, 0.04, 0.01]) @ turn.T
    covariance[3:, 3:] = turn @ np.diag([0.01, 0.0, 0.0]) @ turn.T
    within = pose_from_message(message(truth(1), covariance), "map", "initialpose").within or (0.0, 0.0)
    np.testing.assert_allclose(within, (3.0, float(np.degrees(0.3))))
    covariance[0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        pose_from_message(message(truth(1), covariance), "map", "initialpose")
