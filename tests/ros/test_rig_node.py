"""Several cameras of one robot over real DDS: joint answers, single ones, and what is missing is named."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_harness import Robot, image_message, stamp_of, wait_for
from scripted_localizer import truth
from sensor_msgs.msg import CameraInfo, Image

from diff2i2p.graph_check import GraphCheck
from diff2i2p.poses import matrix_from_pose, stamp_from, stamped_transform
from diff2i2p_core.geometry.se3 import exp, invert

WARN, ERROR = 1, 2
MOUNTINGS = {"front": exp([0, 0.1, 0, 0.2, 0, 0.1]), "left": exp([0, -1.2, 0, -0.1, 0.3, 0])}


class Cameras:
    """The robot's cameras, with their frames on base_link."""

    def __init__(self, robot: Robot) -> None:
        sensor = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._robot = robot
        self.sizes: dict[str, int] = {}
        """Heights of images that do not fit their calibration."""
        self._images = {name: robot.create_publisher(Image, f"{name}/image", sensor) for name in MOUNTINGS}
        self._infos = {
            name: robot.create_publisher(CameraInfo, f"{name}/camera_info", sensor) for name in MOUNTINGS
        }

    def mount(self, *names: str) -> None:
        for name in names:
            link = stamped_transform("base_link", f"{name}_optical", stamp_from(1), MOUNTINGS[name])
            self._robot.static_broadcaster.sendTransform(link)

    def send(self, stamp: int, **numbers: int) -> None:
        """The images with these numbers, by camera, and their calibrations."""
        for name, number in numbers.items():
            info = self._robot.camera_info_message()
            message = image_message(number, stamp)
            if name in self.sizes:
                message.height = self.sizes[name]
                message.data = message.data[: message.height * message.step]
            message.header.frame_id = info.header.frame_id = f"{name}_optical"
            info.header.stamp = message.header.stamp
            self._infos[name].publish(info)
            self._images[name].publish(message)

    def pose_of(self, **numbers: int) -> tuple[int, np.ndarray]:
        """Send the images, with new stamps, until a pose comes: they are sent best effort."""
        sent: set[int] = set()
        until = time.monotonic() + 60
        while not (found := [pose for pose in self._robot.poses if stamp_of(pose) in sent]):
            assert time.monotonic() < until, f"no pose; last: {self._robot.status}"
            sent.add(time.time_ns())
            self.send(max(sent), **numbers)
            time.sleep(0.3)
        return stamp_of(found[0]), matrix_from_pose(found[0].pose.pose, "pose")


@pytest.fixture
def cameras(robot: Robot) -> Iterator[Cameras]:
    yield Cameras(robot)


def test_the_body_is_where_any_camera_says(
    robot: Robot, cameras: Cameras, launch_node: Callable[..., Any], map_file: str
) -> None:
    cameras.mount("front", "left")
    node = launch_node(map=map_file, cameras=["front", "left"], base_frame="base_link", use_prior=False).node
    _, pose = cameras.pose_of(front=5, left=0)  # the left one sees nothing
    np.testing.assert_allclose(pose, truth(5) @ invert(MOUNTINGS["front"]), atol=1e-6)
    wait_for(lambda: "left: 3 inliers" in robot.status[2].get("cameras", ""), "both cameras in one answer")
    _, pose = cameras.pose_of(front=0, left=7)
    np.testing.assert_allclose(pose, truth(7) @ invert(MOUNTINGS["left"]), atol=1e-6)
    stamp, pose = cameras.pose_of(left=9)  # alone
    np.testing.assert_allclose(pose, truth(9) @ invert(MOUNTINGS["left"]), atol=1e-6)
    stamps = [stamp_of(found) for found in robot.poses]
    assert len(set(stamps)) == len(stamps) and stamp in stamps  # one answer a moment
    wait_for(lambda: [t for t in robot.map_transforms if t.child_frame_id == "base_link"], "map -> base_link")
    assert node.get_parameter("cameras").value == ["front", "left"]


def test_a_camera_without_a_transform_is_left_out_and_named(
    robot: Robot, cameras: Cameras, launch_node: Callable[..., Any], map_file: str
) -> None:
    cameras.mount("left")
    launch_node(map=map_file, cameras=["front", "left"], base_frame="base_link", transform_timeout=0.0)
    _, pose = cameras.pose_of(front=5, left=7)
    np.testing.assert_allclose(pose, truth(7) @ invert(MOUNTINGS["left"]), atol=1e-6)
    robot.wait_status(WARN, "front is left out: tf: ")


def test_an_image_that_does_not_fit_does_not_spoil_the_others(
    robot: Robot, cameras: Cameras, launch_node: Callable[..., Any], map_file: str
) -> None:
    cameras.mount("front", "left")
    launch_node(map=map_file, cameras=["front", "left"], base_frame="base_link", use_prior=False)
    cameras.sizes["front"] = 20
    _, pose = cameras.pose_of(front=5, left=7)
    np.testing.assert_allclose(pose, truth(7) @ invert(MOUNTINGS["left"]), atol=1e-6)
    robot.wait_status(WARN, "localized, but front is left out: image")
    cameras.sizes.clear()
    cameras.pose_of(front=5, left=7)
    wait_for(lambda: robot.status[1] == "localized", "the front camera again")


def test_doctor_names_what_each_camera_lacks(
    robot: Robot, cameras: Cameras, launch_node: Callable[..., Any], map_file: str, ros_context: Any
) -> None:
    """The left one has no transform, and the right one, which is remapped, no driver."""
    cameras.mount("front")
    launch_node(
        map=map_file,
        cameras=["front", "left", "right"],
        base_frame="base_link",
        transform_timeout=0.0,
        image_timeout=1.0,
        arguments=["-r", "right/image:=/starboard/rgb"],
    )
    cameras.pose_of(front=5, left=7)
    timer = robot.create_timer(0.1, lambda: cameras.send(time.time_ns(), front=5, left=7))
    robot.wait_value("silent_cameras", "right")
    found = {row["name"]: row for row in GraphCheck(ros_context, "/diff2i2p", 3.0).run()}
    robot.destroy_timer(timer)
    good = ["front image", "front camera_info", "left image", "left camera_info"]
    good.append("TF base_link <- front_optical")
    assert {name: found[name]["status"] for name in good} == dict.fromkeys(good, "ok")
    assert found["TF base_link <- left_optical"]["found"] == "nobody publishes 'left_optical'"
    assert found["right image"]["found"] == "nobody publishes /starboard/rgb"
    assert found["right camera_info"]["status"] == found["right images"]["status"] == "missing"
    assert found["TF"]["found"] == "the frame of right is unknown: no camera_info was received"
    assert found["right compressed image"]["status"] == "note" and "left images" not in found


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cameras": ["front", "left"]}, "set base_frame, too"),
        ({"cameras": ["front", "front"], "base_frame": "base_link"}, "has a name twice"),
        ({"cameras": ["front"], "base_frame": "base_link", "camera_frame": "c"}, "leave it empty"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(
    robot: Robot, launch_node: Callable[..., Any], map_file: str, options: dict[str, Any], words: str
) -> None:
    launch_node(map=map_file, **options)
    robot.wait_status(ERROR, words)
