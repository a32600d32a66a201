"""PointCloud2 messages to points and colours, and back."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from diff2i2p.headers import check_frame
from diff2i2p_core.errors import InputError

AXES = ("x", "y", "z")
MAX_POINTS = 50_000_000
MAX_FIELDS = 100
FLOATS = {PointField.FLOAT32: "f4", PointField.FLOAT64: "f8"}
PACKED = {PointField.FLOAT32: "u4", PointField.UINT32: "u4", PointField.INT32: "u4"}


def cloud_from_message(message: PointCloud2) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
    """Points (N, 3) in the message's frame and colours (N, 3) RGB, or None without a field rgb or rgba.

    Points with a NaN or infinite coordinate (PCL's mark for "no measurement") are left out.
    """
    check_cloud(message)
    count = message.width * message.height
    fields = {field.name: field for field in message.fields}
    columns = [_column(message, fields[name], FLOATS, count) for name in AXES]
    with np.errstate(over="ignore", invalid="ignore"):  # a float64 beyond float32 becomes inf, and leaves
        points = np.stack(columns, axis=1).astype(np.float32)
    finite = np.isfinite(points).all(axis=1)
    if not finite.any():
        raise InputError(f"map cloud: none of its {count} points is finite; publish a cloud with points")
    colors = None
    packed = fields.get("rgb", fields.get("rgba"))
    if packed is not None:
        value = _column(message, packed, PACKED, count).astype(np.uint32)
        colors = np.stack([value >> shift & 255 for shift in (16, 8, 0)], axis=1).astype(np.uint8)[finite]
    return points[finite], colors


def cloud_message(
    points: NDArray[np.float32], colors: NDArray[np.uint8] | None, header: Header
) -> PointCloud2:
    """Points (N, 3) and colours (N, 3) RGB as a little-endian PointCloud2 as RViz and PCL read it."""
    names = ["x", "y", "z"] if colors is None else ["x", "y", "z", "rgb"]
    table = np.empty(len(points), dtype=[(name, "<u4" if name == "rgb" else "<f4") for name in names])
    for axis, name in enumerate("xyz"):
        table[name] = points[:, axis]
    if colors is not None:
        red, green, blue = (colors[:, channel].astype(np.uint32) for channel in range(3))
        table["rgb"] = red << 16 | green << 8 | blue
    message = PointCloud2(header=header, height=1, width=len(points), is_dense=True, is_bigendian=False)
    message.fields = [
        PointField(name=name, offset=4 * place, datatype=PointField.FLOAT32, count=1)
        for place, name in enumerate(names)
    ]
    message.point_step = table.dtype.itemsize
    message.row_step = message.point_step * len(points)
    message.data = table.tobytes()
    return message


def check_cloud(message: PointCloud2) -> None:
    """Refuse a cloud whose header, sizes, fields or data do not fit together. Costs microseconds."""
    check_frame(message.header.frame_id, "map cloud")
    count = message.width * message.height
    if count == 0:
        raise InputError("map cloud: it holds no points; publish the map")
    if count > MAX_POINTS:
        raise InputError(f"map cloud: {count} points are over {MAX_POINTS}; downsample the map")
    if message.point_step == 0 or message.row_step < message.width * message.point_step:
        raise InputError(
            f"map cloud: row_step {message.row_step} does not hold {message.width} points of point_step "
            f"{message.point_step}; mend the publisher"
        )
    if len(message.data) != message.row_step * message.height:
        raise InputError(
            f"map cloud: {len(message.data)} bytes of data, but height {message.height} x row_step "
            f"{message.row_step} is {message.row_step * message.height}; mend the publisher"
        )
    if len(message.fields) > MAX_FIELDS:
        raise InputError(f"map cloud: {len(message.fields)} fields; publish x, y, z and rgb")
    names = [field.name for field in message.fields]
    for name in (*AXES, "rgb", "rgba"):
        if names.count(name) > 1 or (name in AXES and name not in names):
            count = names.count(name)
            raise InputError(f"map cloud: it has {count or 'no'} field {name}; publish x, y and z, each once")
    used = [field for field in message.fields if field.name in AXES or field.name == "rgb"]
    for field, after in pairwise(sorted(used, key=lambda field: field.offset)):
        if after.offset < field.offset + (8 if field.datatype == PointField.FLOAT64 else 4):
            raise InputError(f"map cloud: its fields {field.name} and {after.name} overlap; mend it")


def _column(
    message: PointCloud2, field: PointField, kinds: dict[int, str], count: int
) -> NDArray[np.float64] | NDArray[np.uint32]:
    kind = kinds.get(field.datatype)
    if kind is None:
        raise InputError(f"map cloud: field {field.name} has datatype {field.datatype}; publish floats")
    size = int(kind[1])
    if field.count > 1 or field.offset + size > message.point_step:
        raise InputError(
            f"map cloud: field {field.name} (offset {field.offset}, count {field.count}) does not fit into "
            f"point_step {message.point_step}; mend the publisher"
        )
    order = ">" if message.is_bigendian else "<"
    column = np.ndarray(
        shape=(message.height, message.width),
        dtype=order + kind,
        buffer=memoryview(message.data),
        offset=field.offset,
        strides=(message.row_step, message.point_step),
    )
    return column.reshape(count)
