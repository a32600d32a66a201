"""The node as users run it: a separate process with the real localizer, tested over DDS."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.ros, pytest.mark.slow]
pytest.importorskip("rclpy")

from ros_harness import Robot, compressed_message, stamp_of, wait_for
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from diff2i2p.clouds import cloud_message
from diff2i2p.poses import matrix_from_transform, stamp_from
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import rotation_error_deg, translation_error
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.mapping.build_file import build_map
from diff2i2p_core.weights.checkpoint import shipped_weights

OK, WARN, ERROR = 0, 1, 2
SECOND = 10**9


def _info(camera: Camera) -> CameraInfo:
    k = camera.matrix.ravel().tolist()
    return CameraInfo(width=camera.width, height=camera.height, k=k)


def _image(pixels: np.ndarray, stamp_ns: int) -> Image:
    height, width = pixels.shape[:2]
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width, data=pixels.tobytes())
    message.header.frame_id, message.header.stamp = "camera", stamp_from(stamp_ns)
    return message


def test_a_cloud_becomes_the_map_of_the_real_localizer(
    robot: Robot,
    run_node: Callable[..., subprocess.Popen[str]],
    tiny_weights: Path,
    room_cloud: PointCloud,
) -> None:
    """Untrained weights find no pose, but everything on the way to the answer runs."""
    points = room_cloud.points
    corner = (points[:, 0] < 2) & (points[:, 1] < 2)  # few viewpoints, so that it takes seconds
    robot.cloud.publish(cloud_message(room_cloud.take(corner), Header(frame_id="map")))
    run_node(weights=tiny_weights, min_inliers=10_000, image_timeout=60.0)
    wait_for(lambda: robot.maps, "the map", timeout=60)
    assert 1000 < robot.maps[-1].width <= corner.sum()
    robot.wait_camera_matched()
    robot.calibrate(_info(Camera(320, 240, 260, 260, 159.5, 119.5)))
    pixels = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    robot.image.publish(_image(pixels, SECOND))
    values = robot.wait_status(WARN, "not localized: ", timeout=20)
    assert values["images_not_localized"] == "1" and float(values["latency_match_ms"]) > 0
    assert not robot.poses and not robot.transforms


def test_weights_that_do_not_fit_are_named(
    robot: Robot, run_node: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    map_file = tmp_path / "cut.map"
    map_file.write_bytes(b"\x08\x00\x00\x00")
    run_node(map=map_file)
    values = robot.wait_status(ERROR, str(map_file), timeout=60)
    assert values["state"] == "unconfigured"


TERMINATED_WHILE_CONFIGURING = """
import os, signal, sys, time
from diagnostic_msgs.msg import DiagnosticArray
from diff2i2p import localization_node, node

def fail(self):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.3)  # the signal's handler shuts ROS down under the callback
    if "{}" == "a fault":
        raise node.InputError("no map")
    if "{}" == "a publisher":
        self.create_publisher(DiagnosticArray, "late", 1)

node.LocalizationNode._configure = fail
sys.exit(localization_node.main())
"""


@pytest.mark.parametrize("then", ["a fault", "a publisher", "success"])
def test_a_shutdown_during_a_callback_is_clean(node_environment: dict[str, str], then: str) -> None:
    command = [sys.executable, "-c", TERMINATED_WHILE_CONFIGURING.replace("{}", then)]
    ended = subprocess.run(command, env=node_environment, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False), ended.stderr


def test_a_device_that_is_not_there_is_named(
    robot: Robot, run_node: Callable[..., subprocess.Popen[str]], map_file: str
) -> None:
    run_node(map=map_file, device="tpu")
    robot.wait_status(ERROR, "device 'tpu': unknown; give cpu or cuda", timeout=60)


def test_real_images_in_a_real_map(
    robot: Robot, run_node: Callable[..., subprocess.Popen[str]], data_dir: Path, tmp_path: Path
) -> None:
    """RedKitchen: map from the training frames, images of the other part of the sequence, poses from /tf."""
    if "lite-rgb" not in shipped_weights():
        pytest.skip("the weights lite-rgb are not in diff2i2p_core/assets/weights")
    frames = PosedFrames(data_dir / "redkitchen")
    for number in frames.numbers:
        if number < 600 and number % 8 == 0:
            for path in frames.folder.glob(f"frame-{number:06d}.*"):
                (tmp_path / path.name).symlink_to(path)
    for path in frames.folder.glob("*.txt"):
        if not path.name.startswith("frame-"):
            (tmp_path / path.name).symlink_to(path)
    build_map(tmp_path, tmp_path / "kitchen.map", up="-y")
    run_node(map=tmp_path / "kitchen.map", use_prior=False)
    robot.wait_camera_matched(timeout=60)  # it imports torch first
    robot.calibrate(_info(frames.camera))
    queries = [index for index, number in enumerate(frames.numbers) if number >= 600][::10]
    for count, index in enumerate(queries, start=1):
        frame = frames[index]
        if count % 2:
            robot.image.publish(_image(frame.image, count * SECOND))
        else:
            robot.compressed.publish(compressed_message(frame.image, count * SECOND, "camera"))
        _wait_answers(robot, count)
    near = false = 0
    for transform in robot.transforms:
        assert (transform.header.frame_id, transform.child_frame_id) == ("map", "camera")
        truth = frames.pose(frames.numbers[queries[stamp_of(transform) // SECOND - 1]])
        found = matrix_from_transform(transform.transform)
        metres, degrees = translation_error(found, truth), rotation_error_deg(found, truth)
        near += metres < 0.25 and degrees < 10
        false += metres > 0.5 or degrees > 10
    assert near >= 0.3 * len(queries), f"{near} of {len(queries)} within 25 cm and 10 deg"
    assert false <= 0.1 * len(queries), f"{false} of {len(queries)} over 0.5 m or 10 deg"


def _wait_answers(robot: Robot, count: int) -> None:
    def answered() -> bool:
        values = robot.status[2]
        counts = (values.get(f"images_{kind}", 0) for kind in ("localized", "not_localized"))
        return sum(map(int, counts)) == count

    wait_for(answered, f"the answer to image {count}", timeout=20)
