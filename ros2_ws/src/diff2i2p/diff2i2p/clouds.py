"""Converts PointCloud2 messages to point clouds and back."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from diff2i2p.headers import check_frame
from diff2i2p.packages import package
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.messages import clouds

point_cloud2: Any = package("sensor_msgs_py.point_cloud2")


def check_cloud(message: PointCloud2) -> None:
    """Refuse a map cloud with an invalid frame, size, field or data. Costs microseconds."""
    check_frame(message.header.frame_id, "map cloud")
    clouds.check_cloud(message, "map cloud")


def cloud_from_message(message: PointCloud2, note: Callable[[str], None] = lambda line: None) -> PointCloud:
    """The cloud in the message's frame. InputError for an invalid message. `note` gets lines about fields
    that are not understood."""
    check_frame(message.header.frame_id, "map cloud")
    cloud = clouds.cloud_of(message, "map cloud", note)
    if not len(cloud):
        count = message.width * message.height
        raise InputError(
            f"map cloud: none of its {count} points is finite; publish a cloud with finite points"
        )
    return cloud


def content_of(message: PointCloud2) -> int:
    """A hash, equal for messages with the same points."""
    m = message
    layout = str((m.fields, m.width, m.height, m.point_step, m.is_bigendian))
    return hash((layout, zlib.crc32(m.data)))


def cloud_message(cloud: PointCloud, header: Header) -> PointCloud2:
    """A little-endian PointCloud2, with a field rgb if there are colours, as RViz and PCL read it."""
    points, colors = cloud.points, cloud.colors
    names = ["x", "y", "z"] if colors is None else ["x", "y", "z", "rgb"]
    fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate(names)
    ]
    table = np.empty(len(points), dtype=[(name, "<f4") for name in names])
    for axis, name in enumerate("xyz"):
        table[name] = points[:, axis]
    if colors is not None:
        red, green, blue = (colors[:, channel].astype("<u4") for channel in range(3))
        table["rgb"] = (red << 16 | green << 8 | blue).view("<f4")
    message: PointCloud2 = point_cloud2.create_cloud(header, fields, table)
    message.is_dense = True
    return message
