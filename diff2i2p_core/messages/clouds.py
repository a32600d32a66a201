"""Converts PointCloud2 messages, from a bag or from ROS, to point clouds. A fault raises InputError."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError, quoted
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.point_attributes import (
    by_plain_name,
    colors_of,
    intensity_of,
    is_attribute,
    telling,
)

AXES = ("x", "y", "z")
MAX_POINTS = 50_000_000
MAX_FIELDS = 100
FLOATS = {7: "f4", 8: "f8"}
"""PointField's FLOAT32 and FLOAT64."""
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", **FLOATS}
"""Every datatype of PointField."""


def check_cloud(message: Any, where: str) -> None:
    """Refuse a cloud with inconsistent sizes, fields or data. Costs microseconds.

    `where` begins the error message.
    """
    count = message.width * message.height
    if count == 0:
        raise InputError(f"{where}: it holds no points; fix the publisher")
    if count > MAX_POINTS:
        raise InputError(f"{where}: {count} points are more than {MAX_POINTS}; downsample the cloud")
    row_step = _row_step(message)
    if message.point_step == 0 or row_step < message.width * message.point_step:
        raise InputError(
            f"{where}: row_step {row_step} does not hold {message.width} points of point_step "
            f"{message.point_step}; fix the publisher"
        )
    if len(message.data) != row_step * message.height:
        raise InputError(
            f"{where}: {len(message.data)} bytes of data, but height {message.height} x row_step "
            f"{row_step} is {row_step * message.height}; fix the publisher"
        )
    if len(message.fields) > MAX_FIELDS:
        raise InputError(f"{where}: {len(message.fields)} fields; publish x, y, z and rgb")
    names = [field.name for field in message.fields]
    plain = by_plain_name(names)
    for name in (*AXES, "rgb", "rgba"):
        if names.count(name) > 1 or (name in AXES and name not in plain):
            found = names.count(name) or "no"
            raise InputError(f"{where}: it has {found} field {name}; publish x, y and z, each once")
    used = [field for field in message.fields if field.name in ("rgb", *(plain[name] for name in AXES))]
    for field, after in pairwise(sorted(used, key=lambda field: field.offset)):
        if after.offset < field.offset + np.dtype(FLOATS.get(field.datatype, "f4")).itemsize:
            raise InputError(f"{where}: its fields {field.name} and {after.name} overlap; fix the publisher")


def _row_step(message: Any) -> int:
    """The bytes of a row. Drivers that leave it 0 have no gap between rows."""
    return int(message.row_step) or int(message.width * message.point_step)


def cloud_of(message: Any, where: str, note: Callable[[str], None] = lambda line: None) -> PointCloud:
    """The finite points of a PointCloud2, with colours and intensity if it has such fields.

    In PCL, a NaN or infinite coordinate means "no measurement". `note` gets lines about colours and
    intensities that are not understood.
    """
    check_cloud(message, where)
    fields = {field.name: field for field in message.fields}
    axes = by_plain_name(fields)
    columns = [_column(message, fields[axes[name]], FLOATS, where)[:, 0] for name in AXES]
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # a float64 too large for float32 becomes inf and is left out
        points = np.stack(columns, axis=1).astype(np.float32)
    finite = np.isfinite(points).all(axis=1)
    attributes = {
        name: column[finite] if column.shape[1] > 1 else column[finite, 0]
        for name, field in fields.items()
        if is_attribute(name)
        for column in [_column(message, field, NUMBERS, where)]
    }
    colors, about_colors = colors_of(attributes)
    intensity, about_intensity = intensity_of(attributes)
    colors, intensity, left_out = telling(colors, intensity)
    for words in filter(None, (about_colors, about_intensity, *left_out)):
        note(f"{where}: {words}")
    return PointCloud(points[finite], colors, intensity)


def _column(message: Any, field: Any, kinds: dict[int, str], where: str) -> NDArray[Any]:
    """The numbers (N, count) of one field."""
    kind, name, count = kinds.get(field.datatype), quoted(field.name), max(field.count, 1)
    if kind is None:
        raise InputError(f"{where}: field {name} has datatype {field.datatype}; publish floats")
    item = np.dtype((">" if message.is_bigendian else "<") + kind)
    if (count > 1 and kinds is FLOATS) or field.offset + count * item.itemsize > message.point_step:
        raise InputError(
            f"{where}: field {name} (offset {field.offset}, count {field.count}) does not fit into "
            f"point_step {message.point_step}; fix the publisher"
        )
    column: NDArray[Any] = np.ndarray(
        shape=(message.height, message.width, count),
        dtype=item,
        buffer=memoryview(message.data),
        offset=field.offset,
        strides=(_row_step(message), message.point_step, item.itemsize),
    )
    return column.reshape(-1, count)
