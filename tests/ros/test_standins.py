"""The stand-ins against the real ROS packages, where these are installed; and how one is chosen."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from scipy.spatial.transform import Rotation
from sensor_msgs.msg import Image, PointField
from std_msgs.msg import Header

from diff2i2p import images, packages
from diff2i2p.clouds import cloud_from_message, cloud_message
from diff2i2p.poses import stamp_from
from diff2i2p.standins import cv_bridge, message_filters, point_cloud2, tf_transformations
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.messages.encodings import COLORS
from diff2i2p_core.messages.images import image_of


def _working(name: str) -> Any:
    """The real package; the test is skipped where it is not installed, or does not work."""
    module = packages.package(name)
    if "standins" in module.__name__:
        pytest.skip(f"needs {name}, which a ROS installation has")
    return module


def _image(encoding: str, channels: int, *, padding: int = 0, bigendian: bool = False) -> Image:
    rng = np.random.default_rng(channels)
    width, height = 8, 6
    item = 2 if encoding.endswith("16") else 1
    rows = height * 3 // 2 if encoding.startswith("nv") else height
    step = width * channels * item + padding
    message = Image(height=height, width=width, encoding=encoding, step=step, is_bigendian=int(bigendian))
    message.data = rng.integers(0, 256, rows * step, np.uint8).tobytes()
    message.header.stamp.sec = 1
    return message


@pytest.mark.parametrize("padding", [0, 3, 4, 8])
@pytest.mark.parametrize("bigendian", [False, True])
@pytest.mark.parametrize("encoding", COLORS)
def test_every_encoding_gives_the_pixels_of_the_real_cv_bridge(
    encoding: str, bigendian: bool, padding: int
) -> None:
    """Through the node's function, which knows where the real one fails; the reference has no padding."""
    _working("cv_bridge")
    channels = COLORS[encoding][0]
    message = _image(encoding, channels, padding=padding, bigendian=bigendian)
    np.testing.assert_array_equal(images.image_to_rgb(message), image_of(message, "image"))


def test_pictures_are_the_messages_of_the_real_cv_bridge() -> None:
    real = _working("cv_bridge").CvBridge()
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    header = Header(frame_id="camera")
    assert cv_bridge.CvBridge().cv2_to_imgmsg(pixels, "rgb8", header) == real.cv2_to_imgmsg(
        pixels, "rgb8", header
    )


def test_a_picture_is_read_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    message = images.rgb_message(pixels, Header(frame_id="camera", stamp=stamp_from(1)))
    assert (message.encoding, message.step, message.header.frame_id) == ("rgb8", 24, "camera")
    np.testing.assert_array_equal(images.image_to_rgb(message), pixels)


def test_the_stand_in_for_cv_bridge_refuses_what_it_does_not_know() -> None:
    with pytest.raises(cv_bridge.CvBridgeError, match="knows rgb8 only, not mono8"):
        cv_bridge.CvBridge().imgmsg_to_cv2(_image("rgb8", 3), "mono8")


@pytest.mark.parametrize("colored", [False, True])
def test_clouds_are_the_messages_of_the_real_package(colored: bool) -> None:
    real = _working("sensor_msgs_py.point_cloud2")
    rng = np.random.default_rng(0)
    kinds = {"x": PointField.FLOAT32, "rgb": PointField.UINT32} if colored else {"x": PointField.FLOAT64}
    fields = [PointField(name=n, offset=4 * i, datatype=k, count=1) for i, (n, k) in enumerate(kinds.items())]
    points = np.zeros(5, point_cloud2.dtype_from_fields(fields))
    assert points.dtype == real.dtype_from_fields(fields)
    points["x"] = rng.normal(size=5)
    header = Header(frame_id="map")
    assert point_cloud2.create_cloud(header, fields, points) == real.create_cloud(header, fields, points)


def test_a_cloud_is_read_back() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 3)).astype(np.float32)
    colors = rng.integers(0, 256, (50, 3), np.uint8)
    cloud = cloud_from_message(cloud_message(PointCloud(points, colors), Header(frame_id="map")))
    np.testing.assert_array_equal(cloud.points, points)
    np.testing.assert_array_equal(cloud.colors, colors)


def test_rotations_are_those_of_the_real_package() -> None:
    real = _working("tf_transformations")
    for rotation in Rotation.random(200, random_state=0):
        quaternion = rotation.as_quat()
        matrix = tf_transformations.quaternion_matrix(quaternion)
        np.testing.assert_allclose(matrix, real.quaternion_matrix(quaternion), atol=1e-12)
        theirs = np.asarray(real.quaternion_from_matrix(matrix))
        ours = np.asarray(tf_transformations.quaternion_from_matrix(matrix))
        np.testing.assert_allclose(ours, theirs if theirs[3] >= 0 else -theirs, atol=1e-9)


def _pairs(module: Any, streams: list[tuple[int, int]], slop: float) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    sources = [module.SimpleFilter(), module.SimpleFilter()]
    synchronizer = module.ApproximateTimeSynchronizer(sources, 8, slop)
    synchronizer.registerCallback(lambda a, b: found.append((a.number, b.number)))
    for stamp, stream in streams:
        header = Header(stamp=stamp_from(stamp))
        sources[stream].signalMessage(SimpleNamespace(header=header, number=stamp))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_pairs_are_those_of_the_real_package(seed: int) -> None:
    """Two streams of 30 and 15 Hz with jitter, in the order in which they arrive, late or early."""
    real = _working("message_filters")
    rng = np.random.default_rng(seed)
    stamps = [(33_000_000 * k + int(rng.integers(0, 4_000_000)), 0) for k in range(60)]
    stamps += [(66_000_000 * k + int(rng.integers(0, 9_000_000)), 1) for k in range(30)]
    streams = sorted(stamps, key=lambda row: row[0] + rng.integers(0, 40_000_000))
    assert _pairs(message_filters, streams, 0.01) == _pairs(real, streams, 0.01)


FAULTY = {
    "raise AttributeError('newbyteorder was removed')": "AttributeError: newbyteorder was removed",
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": "it crashes (signal 11)",
}


@pytest.mark.parametrize("first_use", FAULTY)
def test_an_installed_package_that_fails_gives_way_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, first_use: str
) -> None:
    """A compiled module for another numpy ends the process that imports it."""
    (tmp_path / "cv_bridge.py").write_text(first_use)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(packages, "FAULTS", {})
    assert packages.package.__wrapped__("cv_bridge") is cv_bridge
    assert {"cv_bridge": FAULTY[first_use]} == packages.FAULTS


def test_an_encoding_that_the_installed_cv_bridge_does_not_convert(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bridge:
        asked = 0

        def encoding_to_dtype_with_channels(self, encoding: str) -> tuple[str, int]:
            return "uint8", 3

        def imgmsg_to_cv2(self, message: Image, encoding: str) -> None:
            self.asked += 1
            raise RuntimeError("no such conversion")

    bridge = Bridge()
    monkeypatch.setattr(images, "cv_bridge", ModuleType("cv_bridge"))
    monkeypatch.setattr(images, "BRIDGE", bridge)
    monkeypatch.setattr(images, "_refused", set())
    for padding in (0, 0, 4):
        message = _image("bgr8", 3, padding=padding)
        np.testing.assert_array_equal(images.image_to_rgb(message), image_of(message, "image"))
    assert bridge.asked == 1  # it is not asked again, and never about rows that it would misread
