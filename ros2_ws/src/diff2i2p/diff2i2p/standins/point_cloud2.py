"""The part of sensor_msgs_py.point_cloud2 that the node uses."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from diff2i2p_core.messages.clouds import NUMBERS


def dtype_from_fields(fields: Sequence[PointField], point_step: int | None = None) -> np.dtype[Any]:
    """The structured type of a point. Fields have one value each."""
    layout: Any = {
        "names": [field.name for field in fields],
        "formats": [NUMBERS[field.datatype] for field in fields],
        "offsets": [field.offset for field in fields],
    }
    if point_step is not None:
        layout["itemsize"] = point_step
    kind: np.dtype[Any] = np.dtype(layout)
    return kind


def create_cloud(
    header: Header, fields: Sequence[PointField], points: NDArray[Any], point_step: int | None = None
) -> PointCloud2:
    """A message of one row. `points` (N,) has the type of `dtype_from_fields`."""
    assert points.dtype == dtype_from_fields(fields, point_step), "fields and points differ"
    size = points.dtype.itemsize
    return PointCloud2(
        header=header,
        height=1,
        width=len(points),
        is_dense=False,
        is_bigendian=sys.byteorder != "little",
        fields=list(fields),
        point_step=size,
        row_step=size * len(points),
        data=points.tobytes(),
    )
