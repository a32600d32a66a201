"""PointCloud2 to points and colours: layouts of PCL and others, and absurd ones refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from diff2i2p.clouds import cloud_from_message, cloud_message


@pytest.fixture
def cloud() -> PointCloud:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(50, 3)).astype(np.float32)
    return PointCloud(points, rng.integers(0, 256, (50, 3), dtype=np.uint8))


def test_round_trip(cloud: PointCloud) -> None:
    found = cloud_from_message(cloud_message(cloud, Header(frame_id="map")))
    np.testing.assert_array_equal(found.points, cloud.points)
    np.testing.assert_array_equal(found.colors, cloud.colors)
    assert cloud_from_message(cloud_message(PointCloud(cloud.points), Header())).colors is None


@pytest.mark.parametrize("order", ["<", ">"])
def test_organised_float64_with_padding(cloud: PointCloud, order: str) -> None:
    """Rows with padding, a foreign field first, doubles, either byte order."""
    points = cloud.points.astype(np.float64)
    layout: Any = {
        "names": list("xyz"),
        "formats": [order + "f8"] * 3,
        "offsets": [4, 12, 20],
        "itemsize": 32,
    }
    table: NDArray[Any] = np.zeros((5, 10), np.dtype(layout))
    for axis, name in enumerate("xyz"):
        table[name] = points[:, axis].reshape(5, 10)
    rows = np.pad(table.view(np.uint8).reshape(5, 320), ((0, 0), (0, 16)))
    message = PointCloud2(height=5, width=10, point_step=32, row_step=336, is_bigendian=order == ">")
    message.fields = [
        PointField(name=name, offset=4 + 8 * axis, datatype=PointField.FLOAT64, count=1)
        for axis, name in enumerate("xyz")
    ]
    message.data = rows.tobytes()
    np.testing.assert_allclose(cloud_from_message(message).points, cloud.points)


def test_missing_measurements_are_left_out(cloud: PointCloud) -> None:
    points, colors = cloud.points, cloud.colors
    assert colors is not None
    points[3, 1] = np.nan
    points[7, 0] = np.inf
    found = cloud_from_message(cloud_message(PointCloud(points, colors), Header()))
    kept = np.delete(np.arange(50), [3, 7])
    np.testing.assert_array_equal(found.points, points[kept])
    np.testing.assert_array_equal(found.colors, colors[kept])


def _bad(change: str, message: PointCloud2) -> None:
    field = message.fields[0]
    if change == "no points":
        message.width, message.row_step, message.data = 0, 0, b""
    elif change == "all NaN":
        message.data = np.full(200, np.nan, "<f4").tobytes()
    elif change == "no x":
        field.name = "a"
    elif change == "count":
        field.count = 2**32 - 1
    elif change == "offset":
        field.offset = 2**32 - 1
    elif change == "type":
        field.datatype = PointField.UINT8
    elif change == "short":
        message.data = bytes(message.data)[:-1]
    elif change == "row_step":
        message.row_step = 1
    elif change == "point_step":
        message.point_step = 0
    elif change == "gigabytes":
        message.width = message.height = 2**32 - 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("no points", "holds no points"),
        ("all NaN", "none of its 50 points is finite"),
        ("no x", "no field x"),
        ("count", "does not fit"),
        ("offset", "does not fit"),
        ("type", "datatype 2"),
        ("short", "bytes of data"),
        ("row_step", "row_step 1 "),
        ("point_step", "point_step 0"),
        ("gigabytes", "downsample"),
    ],
)
def test_absurd_clouds_are_named(cloud: PointCloud, change: str, words: str) -> None:
    message = cloud_message(cloud, Header())
    _bad(change, message)
    with pytest.raises(InputError, match=words):
        cloud_from_message(message)
