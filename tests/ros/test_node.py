"""The node over real DDS: what is published for an image, when, and under which stamp."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from geometry_msgs.msg import PoseWithCovarianceStamped
from ros_harness import CAMERA_FRAME, Robot, compressed_message, stamp_of, wait_for
from scripted_localizer import HEIGHT, WIDTH, ScriptedLocalizer, truth
from sensor_msgs.msg import CameraInfo

from diff2i2p.poses import matrix_from_pose, matrix_from_transform, stamp_from, stamped_transform
from diff2i2p_core.geometry.se3 import exp, invert
from diff2i2p_core.localization.localizer import Localizer

OK, WARN, ERROR = 0, 1, 2
SECOND = 10**9


def test_pose_and_transform_carry_the_image_stamp(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    launch_node(map=map_file)
    robot.wait_camera_matched()
    robot.calibrate()
    for number in (1, 2, 3):
        stamp = 100 * SECOND + number * 33_333_333
        pose = robot.localize(number, stamp)
        assert pose.header.frame_id == "map"
        np.testing.assert_allclose(matrix_from_pose(pose.pose.pose, "pose"), truth(number), atol=1e-9)
        np.testing.assert_allclose(
            np.reshape(pose.pose.covariance, (6, 6)), np.diag([1, 2, 3, 0.1, 0.2, 0.3]), atol=1e-12
        )
        wait_for(partial(lambda n: len(robot.transforms) == n, number), "the transform")
        transform = robot.transforms[-1]
        assert (transform.header.frame_id, transform.child_frame_id) == ("map", CAMERA_FRAME)
        assert stamp_of(transform) == stamp
        np.testing.assert_allclose(matrix_from_transform(transform.transform), truth(number), atol=1e-9)
    robot.wait_status(OK, "localized")
    robot.wait_value("images_localized", "3")
    assert robot.status[2]["map"] == map_file


def test_no_pose_no_transform(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    launch_node(map=map_file)
    robot.wait_camera_matched()
    robot.calibrate()
    robot.send_image(0, 5 * SECOND)
    robot.wait_status(WARN, "not localized: too few inliers")
    robot.localize(4, 6 * SECOND)
    wait_for(lambda: robot.transforms, "the next image's transform")
    assert [stamp_of(message) for message in (*robot.poses, *robot.transforms)] == [6 * SECOND] * 2


def test_map_to_odom_with_a_moving_base(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    """map_from_odom = map_from_base * inv(odom_from_base at the image's stamp), odometry interpolated."""
    base_from_camera = exp([0.1, 0.2, -1.2, 0.3, 0.0, 0.8])
    start, velocity = exp([0, 0, 0.4, 1.0, -2.0, 0.0]), np.array([0.5, 0.2, 0.0])

    def odom_from_base(stamp: float) -> np.ndarray:
        moved: np.ndarray = start.copy()
        moved[:3, 3] += velocity * stamp
        return moved

    robot.static_broadcaster.sendTransform(
        [_static("base_link", "head", np.eye(4)), _static("head", CAMERA_FRAME, base_from_camera)]
    )
    launch_node(
        map=map_file,
        odom_frame="odom",
        base_frame="base_link",
        transform_tolerance=0.25,
        transform_timeout=10.0,
    )
    robot.wait_camera_matched()
    robot.calibrate()
    for tenth in range(20):  # odometry at 10 Hz, images between
        robot.send_transform(
            "odom", "base_link", 10 * SECOND + tenth * SECOND // 10, odom_from_base(tenth / 10)
        )
    stamp = 10 * SECOND + 1_234_567_890
    pose = robot.localize(6, stamp)
    map_from_base = truth(6) @ invert(base_from_camera)
    np.testing.assert_allclose(matrix_from_pose(pose.pose.pose, "pose"), map_from_base, atol=1e-6)
    found = wait_for(lambda: robot.map_transforms, "map -> odom")[-1]
    assert found.child_frame_id == "odom"
    assert stamp_of(found) == stamp + SECOND // 4
    expected = map_from_base @ invert(odom_from_base(1.23456789))
    np.testing.assert_allclose(matrix_from_transform(found.transform), expected, atol=1e-6)
    # What a consumer sees at the image's time through the whole tree is the localized pose again.
    robot.send_image(6, stamp + 1)
    wait_for(
        lambda: len([t for t in robot.transforms if t.header.frame_id == "map"]) == 2, "the second transform"
    )


def _static(parent: str, child: str, matrix: np.ndarray) -> Any:
    return stamped_transform(parent, child, stamp_from(0), matrix)


def test_without_odometry_the_pose_is_given_but_no_transform(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    launch_node(map=map_file, odom_frame="odom", transform_timeout=0.02)
    robot.wait_camera_matched()
    robot.calibrate()
    robot.localize(2, 3 * SECOND)
    values = robot.wait_status(ERROR, "transform cannot be published")
    assert values["tf_faults"] == "1" and not robot.transforms


def test_the_newest_image_wins(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    """While the node works on an image, it keeps only the newest of the others."""
    node = launch_node(map=map_file).node
    robot.wait_camera_matched()
    robot.calibrate()
    localizer = node._session.pipeline.localizer
    localizer.gate = threading.Event()
    robot.send_image(1, 1 * SECOND)
    wait_for(lambda: localizer.calls, "the first image")
    for number in range(2, 8):
        robot.send_image(number, number * SECOND)
        wait_for(partial(lambda n: node._health.counts["images_received"] == n, number), "the image")
    localizer.gate.set()
    wait_for(lambda: len(robot.poses) == 2, "two poses")
    assert [call.number for call in localizer.calls] == [1, 7]
    assert [stamp_of(pose) for pose in robot.poses] == [1 * SECOND, 7 * SECOND]
    robot.wait_value("images_dropped", "5")


def test_map_from_a_latched_cloud_and_replaced_while_running(
    robot: Robot, launch_node: Callable[..., Any]
) -> None:
    first = np.arange(30, dtype=np.float32).reshape(10, 3)
    robot.send_cloud(first)  # before the node exists
    node = launch_node().node
    robot.wait_camera_matched()
    wait_for(lambda: robot.maps, "the node's map")
    assert robot.maps[-1].width == 10
    robot.calibrate()
    robot.localize(3, 2 * SECOND)
    before = node._session.pipeline.localizer
    robot.send_cloud(first)  # the same again changes nothing
    robot.send_cloud(first[:4])
    wait_for(lambda: robot.maps[-1].width == 4, "the new map")
    assert node._session.pipeline.localizer is not before and len(robot.maps) == 2
    robot.localize(4, 3 * SECOND)
    robot.wait_status(OK, "localized")


def test_compressed_images_and_one_stamp_once(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    """Both topics are read; an image that comes on both is used once."""
    node = launch_node(map=map_file).node
    robot.wait_camera_matched()
    wait_for(robot.compressed.get_subscription_count, "the compressed subscription")
    robot.calibrate()
    robot.compressed.publish(compressed_message(np.full((HEIGHT, WIDTH, 3), 9, np.uint8), 8 * SECOND))
    wait_for(lambda: robot.poses, "the pose")
    robot.send_image(9, 8 * SECOND)
    robot.localize(2, 9 * SECOND)
    assert [call.number for call in node._session.pipeline.localizer.calls] == [9, 2]


def test_distorted_images_go_to_the_localizer_with_their_lens(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    """It rectifies them: tests/localization/test_lens.py."""
    node = launch_node(map=map_file).node
    robot.wait_camera_matched()
    k = [60.0, 0.0, 32.0, 0.0, 60.0, 24.0, 0.0, 0.0, 1.0]
    info = CameraInfo(
        width=WIDTH, height=HEIGHT, k=k, distortion_model="plumb_bob", d=[0.2, 0.0, 0.0, 0.0, 0.0]
    )
    robot.camera_info.publish(info)
    robot.wait_status(WARN, "no image yet")
    robot.localize(200, SECOND)
    call = node._session.pipeline.localizer.calls[0]
    assert call.camera.is_distorted and call.camera.distortion == (0.2, 0.0, 0.0, 0.0, 0.0)
    assert call.image.shape == (HEIGHT, WIDTH, 3)


def test_priors_follow_odometry_and_after_a_miss_the_whole_map_is_searched_too(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    node = launch_node(map=map_file, odom_frame="odom", prior_timeout=5.0).node
    robot.wait_camera_matched()
    robot.calibrate()
    on = exp([0, 0, 0.1, 0.2, 0, 0])
    odometry = {10: np.eye(4), 11: on, 12: on @ on, 13: invert(truth(5)) @ truth(6)}
    for second, odom_from_camera in odometry.items():
        robot.send_transform("odom", CAMERA_FRAME, second * SECOND, odom_from_camera)
    robot.localize(5, 10 * SECOND)
    calls = node._session.pipeline.localizer.calls
    robot.send_image(0, 11 * SECOND)
    wait_for(lambda: len(calls) == 2, "the first image that is missed")
    robot.send_image(0, 12 * SECOND)
    wait_for(lambda: len(calls) == 4, "both searches of the second")
    robot.wait_status(WARN, "not localized")
    robot.localize(6, 13 * SECOND)
    first, missed, again, everywhere, after = calls
    assert first.prior is None and everywhere.prior is None
    for call, second in ((missed, 11), (again, 12), (after, 13)):
        np.testing.assert_allclose(call.prior, truth(5) @ odometry[second], atol=1e-9)


def test_initialpose_is_the_next_prior(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    node = launch_node(map=map_file, prior_timeout=1.0).node
    robot.wait_camera_matched()
    robot.calibrate()
    message = PoseWithCovarianceStamped()
    message.header.frame_id = "map"
    message.pose.pose.position.x, message.pose.pose.position.y = 0.3, 1.5
    for bad in ({"frame_id": "odom"}, {"x": float("nan")}, {"w": 0.0}):
        robot.initialpose.publish(_spoilt(message, **bad))
    robot.wait_value("initialpose_faults", "3")
    robot.initialpose.publish(message)
    wait_for(lambda: node._session.pipeline._tracker.state == "searching", "the initial pose")
    robot.localize(3, 50 * SECOND)
    robot.localize(4, 60 * SECOND)  # ten seconds later the last pose is no longer used as a prior
    first, second = node._session.pipeline.localizer.calls
    np.testing.assert_allclose(first.prior, exp([0, 0, 0, 0.3, 1.5, 0]))
    assert second.prior is None


def _spoilt(
    message: PoseWithCovarianceStamped, frame_id: str = "map", x: float = 4.0, w: float = 1.0
) -> PoseWithCovarianceStamped:
    spoilt = PoseWithCovarianceStamped()
    spoilt.header.frame_id = frame_id
    spoilt.pose.pose.position.x = x
    spoilt.pose.pose.orientation.w = w
    return spoilt


def test_scripted_localizer_has_the_interface_of_the_real_one() -> None:
    for name in ("open", "from_cloud", "localize"):
        real = inspect.signature(getattr(Localizer, name)).parameters
        scripted = inspect.signature(getattr(ScriptedLocalizer, name)).parameters
        assert [*scripted] == [name for name in real if name in scripted], name
