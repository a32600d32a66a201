"""Converts PointCloud2 messages, from a bag or from ROS, to point clouds. A fault raises InputError."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError, quoted
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.clouds import INTENSITY_NAMES, scaled_intensity

AXES = ("x", "y", "z")
MAX_POINTS = 50_000_000
MAX_FIELDS = 100
FLOATS = {7: "f4", 8: "f8"}
"""PointField's FLOAT32 and FLOAT64."""
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", **FLOATS}
"""Every datatype of PointField."""
PACKED = {7: "u4", 6: "u4", 5: "u4"}
"""Types of a packed colour: FLOAT32, UINT32, INT32."""


def check_cloud(message: Any, where: str) -> None:
    """Refuse a cloud with inconsistent sizes, fields or data. Costs microseconds.

    `where` begins the error message.
    """
    count = message.width * message.height
    if count == 0:
        raise InputError(f"{where}: it holds no points; fix the publisher")
    if count > MAX_POINTS:
        raise InputError(f"{where}: {count} points are more than {MAX_POINTS}; downsample the cloud")
    if message.point_step == 0 or message.row_step < message.width * message.point_step:
        raise InputError(
            f"{where}: row_step {message.row_step} does not hold {message.width} points of point_step "
            f"{message.point_step}; fix the publisher"
        )
    if len(message.data) != message.row_step * message.height:
        raise InputError(
            f"{where}: {len(message.data)} bytes of data, but height {message.height} x row_step "
            f"{message.row_step} is {message.row_step * message.height}; fix the publisher"
        )
    if len(message.fields) > MAX_FIELDS:
        raise InputError(f"{where}: {len(message.fields)} fields; publish x, y, z and rgb")
    names = [field.name for field in message.fields]
    for name in (*AXES, "rgb", "rgba"):
        if names.count(name) > 1 or (name in AXES and name not in names):
            found = names.count(name) or "no"
            raise InputError(f"{where}: it has {found} field {name}; publish x, y and z, each once")
    used = [field for field in message.fields if field.name in AXES or field.name == "rgb"]
    for field, after in pairwise(sorted(used, key=lambda field: field.offset)):
        if after.offset < field.offset + np.dtype(FLOATS.get(field.datatype, "f4")).itemsize:
            raise InputError(f"{where}: its fields {field.name} and {after.name} overlap; fix the publisher")


def cloud_of(message: Any, where: str) -> PointCloud:
    """The finite points of a PointCloud2, with colours and intensity if it has such fields.

    In PCL, a NaN or infinite coordinate means "no measurement".
    """
    check_cloud(message, where)
    fields = {field.name: field for field in message.fields}
    columns = [_column(message, fields[name], FLOATS, where) for name in AXES]
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # a float64 too large for float32 becomes inf and is left out
        points = np.stack(columns, axis=1).astype(np.float32)
    finite = np.isfinite(points).all(axis=1)
    colors = None
    packed = fields.get("rgb", fields.get("rgba"))
    if packed is not None:
        value = _column(message, packed, PACKED, where).astype(np.uint32)[finite]
        colors = np.stack([value >> shift & 255 for shift in (16, 8, 0)], axis=1).astype(np.uint8)
    name = next((name for name in INTENSITY_NAMES if name in fields), None)
    intensity = None
    if name is not None and finite.any():
        intensity = scaled_intensity(_column(message, fields[name], NUMBERS, where)[finite])
    return PointCloud(points[finite], colors, intensity)


def _column(message: Any, field: Any, kinds: dict[int, str], where: str) -> NDArray[Any]:
    """The numbers (N,) of one field."""
    kind = kinds.get(field.datatype)
    name = quoted(field.name)
    if kind is None:
        raise InputError(f"{where}: field {name} has datatype {field.datatype}; publish floats")
    item = np.dtype((">" if message.is_bigendian else "<") + kind)
    if field.count > 1 or field.offset + item.itemsize > message.point_step:
        raise InputError(
            f"{where}: field {name} (offset {field.offset}, count {field.count}) does not fit into "
            f"point_step {message.point_step}; fix the publisher"
        )
    column: NDArray[Any] = np.ndarray(
        shape=(message.height, message.width),
        dtype=item,
        buffer=memoryview(message.data),
        offset=field.offset,
        strides=(message.row_step, message.point_step),
    )
    return column.reshape(-1)
