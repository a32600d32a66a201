"""Whatever a message claims, converting it gives a good result or one InputError of one line, and quickly."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import pytest

from diff2i2p_core.errors import InputError

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

import message_strategies as anything
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField

from diff2i2p.cameras import camera_from_info
from diff2i2p.clouds import cloud_from_message
from diff2i2p.images import depth_to_metres, image_to_rgb
from diff2i2p.poses import checked_matrix, matrix_from_pose
from diff2i2p.standins.tf2_ros import Buffer, TransformException
from diff2i2p.transform_inputs import check_transform
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import rectify_depth

quick = settings(max_examples=200, deadline=None)


@contextmanager
def one_line() -> Iterator[None]:
    """Allows an InputError that can be logged and shown in a table."""
    try:
        yield
    except InputError as error:
        words = str(error)
        assert words.isprintable() and len(words) < 500


@quick
@given(message=anything.IMAGES)
def test_images(message: Image) -> None:
    with one_line():
        assert image_to_rgb(message).shape == (message.height, message.width, 3)


@quick
@given(message=anything.COMPRESSED)
def test_compressed(message: CompressedImage) -> None:
    with one_line():
        assert image_to_rgb(message).ndim == 3


@quick
@given(place=st.integers(0, 3000), bytes_there=st.binary(max_size=8), cut=st.integers(1, 3000))
@pytest.mark.parametrize("kind", [".png", ".jpg"])
def test_damaged_files(kind: str, place: int, bytes_there: bytes, cut: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    data = cv2.imencode(kind, pixels)[1].tobytes()
    message = CompressedImage(format=kind, data=(data[:place] + bytes_there + data[place + 3 :])[:cut])
    message.header.stamp.sec = 1
    with one_line():
        assert image_to_rgb(message).shape[2] == 3


@quick
@given(message=anything.DEPTHS, width=st.integers(1, 5), height=st.integers(1, 5))
def test_depth(message: Image, width: int, height: int) -> None:
    with one_line():
        metres = rectify_depth(depth_to_metres(message), Camera(width, height, 5, 5, 2, 2))
        assert metres.shape == (height, width) and np.isfinite(metres).all() and (metres >= 0).all()


@quick
@given(message=anything.CAMERA_INFOS, rectified=st.booleans())
def test_camera_info(message: CameraInfo, rectified: bool) -> None:
    with one_line():
        camera = camera_from_info(message, rectified=rectified)
        image = np.zeros((48, 64, 3), np.uint8)
        camera.check_size(image.shape, "image")
        assert camera.rectify(image).shape == image.shape


@quick
@given(message=anything.CLOUDS)
def test_clouds(message: PointCloud2) -> None:
    with one_line():
        cloud = cloud_from_message(message)
        assert np.isfinite(cloud.points).all() and 0 < len(cloud) <= message.width * message.height
        assert cloud.colors is None or cloud.colors.shape == cloud.points.shape


@quick
@given(message=anything.INITIAL_POSES)
def test_poses(message: Any) -> None:
    with one_line():
        assert np.isfinite(matrix_from_pose(message.pose.pose, "initialpose")).all()


@quick
@given(message=anything.TF_MESSAGES)
def test_transforms(message: Any) -> None:
    buffer = Buffer()
    for transform in message.transforms:
        with one_line():
            check_transform(transform)
            assert np.isfinite(checked_matrix(transform, "/tf")).all()
        buffer.set_transform(transform, "")  # as it is, also without the check
        with pytest.raises(TransformException):
            buffer.lookup_transform("nobody", transform.child_frame_id, Time())


def _claims() -> Iterator[tuple[str, Callable[[Any], Any], Any]]:
    """Small messages that claim gigabytes."""
    for name, header in (("png", anything.png_header), ("jpeg", anything.jpeg_header)):
        data = header(60_000, 60_000) + bytes(2000)
        yield name, image_to_rgb, CompressedImage(format=name, data=data)
    strip = cv2.imencode(".png", np.zeros((1, 60_000), np.uint8))[1].tobytes()
    yield "strip", image_to_rgb, CompressedImage(format="png", data=strip)
    huge = {"height": 2**31, "width": 2**31, "step": 2**32 - 1}
    yield "image", image_to_rgb, Image(encoding="rgb8", data=b"123", **huge)
    fields = [PointField(name=n, offset=4 * i, datatype=7, count=1) for i, n in enumerate("xyz")]
    cloud = PointCloud2(height=7000, width=7000, point_step=12, row_step=84_000, fields=fields, data=b"123")
    yield "cloud", cloud_from_message, cloud
    many = PointCloud2(height=1, width=1, point_step=12, row_step=12, fields=fields * 30_000, data=bytes(12))
    yield "fields", cloud_from_message, many


CLAIMS = {name: (convert, message) for name, convert, message in _claims()}


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_of_gigabytes_cost_nothing(name: str) -> None:
    convert, message = CLAIMS[name]
    if hasattr(message, "format") or hasattr(message, "encoding"):
        message.header.stamp.sec = 1
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(InputError):
            convert(message)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5e6 and time.process_time() - start < 0.5
