"""A depth camera with the real localizer over DDS: in a map without colours, and in one of rendered views."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytestmark = [pytest.mark.ros, pytest.mark.slow]
pytest.importorskip("rclpy")

from rclpy.parameter import Parameter
from ros_harness import CAMERA_FRAME, Robot, Spinning, stamp_of, wait_for
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from diff2i2p.images import rgb_message
from diff2i2p.node import LocalizationNode
from diff2i2p.poses import matrix_from_pose, stamp_from
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import is_near
from diff2i2p_core.io.rgbd_folder import Frame, PosedFrames
from diff2i2p_core.mapping.build_file import build_map
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames

CAMERA = Camera(320, 240, 262.5, 262.5, 159.75, 119.75)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> PosedFrames:
    folder, room = tmp_path_factory.mktemp("room"), make_room(20_001)
    write_frames(folder, room, CAMERA, camera_path(room, 12, 20_001, step=0.2))
    return PosedFrames(folder)


def start(context: Any, **parameters: Any) -> Spinning:
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    return Spinning(LocalizationNode(context=context, parameter_overrides=overrides), context)


class DepthCamera:
    """Sends images, their depth and the calibration."""

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self._depth = robot.create_publisher(Image, "depth", 10)
        k = [CAMERA.fx, 0.0, CAMERA.cx, 0.0, CAMERA.fy, CAMERA.cy, 0.0, 0.0, 1.0]
        self._info = CameraInfo(width=CAMERA.width, height=CAMERA.height, k=k)
        self._info.header.frame_id = CAMERA_FRAME

    def wait_matched(self) -> None:
        self._robot.wait_camera_matched(60)
        wait_for(self._depth.get_subscription_count, "the depth's subscription")
        self._robot.calibrate(self._info)

    def send(self, image: NDArray[np.uint8], depth: NDArray[np.float32]) -> int:
        stamp = time.time_ns()
        header = Header(stamp=stamp_from(stamp), frame_id=CAMERA_FRAME)
        height, width = depth.shape
        message = Image(header=header, height=height, width=width, encoding="32FC1", step=4 * width)
        message.data = depth.astype("<f4").tobytes()
        self._depth.publish(message)
        self._robot.image.publish(rgb_message(image, header))
        return stamp

    def pose_of(self, frame: Frame, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Images are sent best effort: until a pose comes."""
        sent, until = set[int](), time.monotonic() + 60
        while not (found := [pose for pose in self._robot.poses if stamp_of(pose) in sent]):
            assert time.monotonic() < until, f"no pose; last: {self._robot.status}"
            sent.add(self.send(image, frame.depth))
            time.sleep(1)
        return matrix_from_pose(found[-1].pose.pose, "pose")


@pytest.mark.parametrize("matcher", ["depth", "views"])
def test_depth_finds_the_camera_in_maps_of_both_kinds(
    robot: Robot,
    ros_context: Any,
    frames: PosedFrames,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    matcher: str,
) -> None:
    """In a map for depth, whose cloud's colours are not used, a black image is enough; in one of views, the
    depth refines the pose of the image."""
    if matcher == "views":
        request.getfixturevalue("xfeat_network")
    build_map(frames.folder, tmp_path / "room.map", matcher=matcher)  # type: ignore[arg-type]
    camera = DepthCamera(robot)
    with closing(start(ros_context, map=str(tmp_path / "room.map"), use_depth=True)):
        camera.wait_matched()
        for frame in (frames[4], frames[8]):
            image = frame.image if matcher == "views" else np.zeros_like(frame.image)
            robot.poses.clear()
            assert is_near(camera.pose_of(frame, image), frame.world_from_camera, 0.04, 1.5)
