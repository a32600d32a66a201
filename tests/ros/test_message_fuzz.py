"""Whatever a message claims, converting it gives an array or one InputError, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diff2i2p_core.errors import InputError

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from geometry_msgs.msg import Point, Pose, Quaternion
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField, RegionOfInterest

from diff2i2p.cameras import camera_from_info, rectified_image
from diff2i2p.clouds import cloud_from_message
from diff2i2p.images import CHANNELS, compressed_to_rgb, image_to_rgb
from diff2i2p.poses import matrix_from_pose

UINT32 = st.one_of(st.integers(0, 12), st.integers(0, 2**32 - 1))
FLOAT = st.one_of(st.floats(), st.sampled_from([0.0, 1.0, 500.0]))
DATA = st.binary(max_size=600)
ENCODING = st.sampled_from([*CHANNELS, "bayer_rggb8", "mono16", "", "8UC3"])
quick = settings(max_examples=150, deadline=None)


def _stamped(message: Any) -> Any:
    message.header.stamp.sec = 1
    return message


@quick
@given(height=UINT32, width=UINT32, step=UINT32, encoding=ENCODING, data=DATA, big=st.integers(0, 1))
def test_images(height: int, width: int, step: int, encoding: str, data: bytes, big: int) -> None:
    message = Image(height=height, width=width, step=step, encoding=encoding, data=data, is_bigendian=big)
    try:
        assert image_to_rgb(_stamped(message)).shape == (height, width, 3)
    except InputError as error:
        assert "\n" not in str(error)


@quick
@given(height=st.integers(1, 5), width=st.integers(1, 5), pad=st.integers(0, 4), encoding=ENCODING)
def test_consistent_images_of_any_size(height: int, width: int, pad: int, encoding: str) -> None:
    step = width * CHANNELS.get(encoding, 1) + pad
    message = Image(height=height, width=width, step=step, encoding=encoding, data=bytes(step * height))
    try:
        assert image_to_rgb(_stamped(message)).shape == (height, width, 3)
    except InputError as error:
        assert encoding not in CHANNELS or (CHANNELS[encoding] == 2 and width % 2)
        assert "\n" not in str(error)


@quick
@given(data=DATA, form=st.sampled_from(["jpeg", "rgb8; png compressed bgr8", ""]), magic=st.booleans())
def test_compressed(data: bytes, form: str, magic: bool) -> None:
    start = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" if magic else b""
    try:
        assert compressed_to_rgb(_stamped(CompressedImage(format=form, data=start + data))).ndim == 3
    except InputError as error:
        assert "\n" not in str(error)


@quick
@given(
    size=st.one_of(st.just((64, 48)), st.tuples(UINT32, UINT32)),
    k=st.lists(FLOAT, min_size=9, max_size=9),
    d=st.one_of(*(st.lists(FLOAT, min_size=n, max_size=n) for n in (0, 1, 4, 5, 8, 14))),
    model=st.sampled_from(["plumb_bob", "rational_polynomial", "equidistant", "fov"]),
    binning=st.one_of(st.just((0, 0)), st.tuples(UINT32, UINT32)),
    roi=st.one_of(st.just((0, 0, 0, 0)), st.tuples(UINT32, UINT32, UINT32, UINT32)),
    rectified=st.booleans(),
)
def test_camera_info(
    size: tuple[int, int],
    k: list[float],
    d: list[float],
    model: str,
    binning: tuple[int, int],
    roi: tuple[int, int, int, int],
    rectified: bool,
) -> None:
    message = CameraInfo(width=size[0], height=size[1], k=k, d=d, distortion_model=model)
    message.p = [*k, *k[:3]]
    message.binning_x, message.binning_y = binning
    message.roi = RegionOfInterest(x_offset=roi[0], y_offset=roi[1], width=roi[2], height=roi[3])
    try:
        camera = camera_from_info(message, rectified=rectified)
        image, _ = rectified_image(np.zeros((48, 64, 3), np.uint8), camera)
        assert image.shape == (48, 64, 3)
    except InputError as error:
        assert "\n" not in str(error)


@quick
@given(
    size=st.tuples(UINT32, UINT32),
    step=st.tuples(UINT32, UINT32),
    fields=st.lists(st.tuples(st.sampled_from("xyz"), UINT32, st.integers(0, 255), UINT32), max_size=4),
    data=DATA,
    big=st.booleans(),
)
def test_clouds(
    size: tuple[int, int],
    step: tuple[int, int],
    fields: list[tuple[str, int, int, int]],
    data: bytes,
    big: bool,
) -> None:
    message = PointCloud2(height=size[0], width=size[1], data=data, is_bigendian=big)
    message.point_step, message.row_step = step
    message.fields = [PointField(name=n, offset=o, datatype=t, count=c) for n, o, t, c in fields]
    try:
        cloud_from_message(message)
    except InputError as error:
        assert "\n" not in str(error)


@quick
@given(
    count=st.integers(0, 4),
    offsets=st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20)),
    kind=st.sampled_from([PointField.FLOAT32, PointField.FLOAT64, PointField.UINT8]),
    step=st.integers(0, 24),
    fill=st.integers(0, 255),
)
def test_clouds_with_consistent_sizes(
    count: int, offsets: tuple[int, int, int, int], kind: int, step: int, fill: int
) -> None:
    message = PointCloud2(height=1, width=count, point_step=step, row_step=step * count)
    message.data = bytes([fill]) * (step * count)
    named = zip(("x", "y", "z", "rgb"), offsets, strict=True)
    message.fields = [PointField(name=name, offset=offset, datatype=kind, count=1) for name, offset in named]
    try:
        points, _ = cloud_from_message(message)
        assert np.isfinite(points).all() and len(points) == count
    except InputError as error:
        assert "\n" not in str(error)


@quick
@given(numbers=st.lists(FLOAT, min_size=7, max_size=7))
def test_poses(numbers: list[float]) -> None:
    pose = Pose(position=Point(), orientation=Quaternion())
    names = ("x", "y", "z")
    for name, value in zip(names, numbers[:3], strict=True):
        setattr(pose.position, name, value)
    for name, value in zip((*names, "w"), numbers[3:], strict=True):
        setattr(pose.orientation, name, value)
    try:
        assert np.isfinite(matrix_from_pose(pose, "initialpose")).all()
    except InputError as error:
        assert "\n" not in str(error)
