"""PointCloud2 messages as drivers and tools publish them, without ROS."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.messages.clouds import cloud_of

POINTS = np.random.default_rng(0).uniform(-3, 3, (12, 3)).astype(np.float32)
COLORS = np.random.default_rng(1).integers(0, 256, (12, 3), dtype=np.uint8)
DATATYPES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}


def cloud_message(
    columns: dict[str, Any], height: int = 1, order: str = "<", counts: int = 1
) -> SimpleNamespace:
    """A PointCloud2 of named columns (N,) or (N, k)."""
    layout = [
        (name, np.dtype(values.dtype.str[1:]).newbyteorder(order), values.shape[1:])
        for name, values in columns.items()
    ]
    table = np.zeros(12, layout)
    for name, values in columns.items():
        table[name] = values
    fields, width = [], 12 // height
    for name, values in columns.items():
        assert table.dtype.fields is not None
        offset = table.dtype.fields[name][1]
        count = values.shape[1] if values.ndim > 1 else counts
        fields.append(
            SimpleNamespace(name=name, offset=offset, datatype=DATATYPES[values.dtype.str[1:]], count=count)
        )
    step = table.dtype.itemsize
    return SimpleNamespace(
        fields=fields, width=width, height=height, point_step=step, row_step=step * width,
        is_bigendian=order == ">", data=table.tobytes(),
    )  # fmt: skip


def xyz(names: str = "xyz") -> dict[str, Any]:
    return {name: POINTS[:, axis] for axis, name in enumerate(names)}


def channels(names: tuple[str, ...], values: Any = COLORS) -> dict[str, Any]:
    return {name: values[:, i] for i, name in enumerate(names)}


def packed() -> Any:
    return COLORS.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "colors",
    [
        channels(("r", "g", "b")),
        channels(("red", "green", "blue"), COLORS.astype(np.uint16) * np.uint16(257)),
        channels(("r", "g", "b"), COLORS.astype(np.float32) / 255),
        channels(("r", "g", "b", "a"), np.column_stack([COLORS, COLORS[:, :1]])),
        {"rgb": packed()},
        {"rgb": packed().view(np.float32)},
        {"rgba": packed() | np.uint32(0xFF000000)},
        {"rgb": COLORS},
    ],
)
def test_colours_in_their_usual_fields(colors: dict[str, Any], order: str) -> None:
    cloud = cloud_of(cloud_message({**xyz(), **colors}, order=order), "cloud", pytest.fail)
    np.testing.assert_array_equal(cloud.points, POINTS)
    np.testing.assert_array_equal(cloud.colors, COLORS)


@pytest.mark.parametrize("height", [1, 3])
def test_row_step_0(height: int) -> None:
    message = cloud_message({**xyz(), **channels(("r", "g", "b"))}, height)
    message.row_step = 0
    cloud = cloud_of(message, "cloud")
    np.testing.assert_array_equal(cloud.points, POINTS)
    np.testing.assert_array_equal(cloud.colors, COLORS)
    message.data = message.data[:-1]
    with pytest.raises(InputError, match="bytes of data"):
        cloud_of(message, "cloud")


def test_upper_case_axes_and_count_0() -> None:
    cloud = cloud_of(cloud_message({**xyz("XYZ"), "RGB": packed()}, counts=0), "cloud")
    np.testing.assert_array_equal(cloud.points, POINTS)
    np.testing.assert_array_equal(cloud.colors, COLORS)


def test_fields_that_are_not_understood_are_named() -> None:
    notes: list[str] = []
    wide = {"rgb": COLORS.astype(np.uint16)[:, 0], "intensity_raw": POINTS[:, 0]}
    cloud = cloud_of(cloud_message({**xyz(), **wide}), "cloud", notes.append)
    assert cloud.colors is None and cloud.intensity is None
    assert notes == [
        "cloud: its fields rgb are not understood as colours and are left out",
        "cloud: its fields intensity_raw are not understood as an intensity and are left out",
    ]


def test_colours_follow_their_points() -> None:
    points = POINTS.copy()
    points[[2, 7], 1] = np.nan
    columns = {name: points[:, axis] for axis, name in enumerate("xyz")}
    cloud = cloud_of(cloud_message({**columns, **channels(("r", "g", "b"))}), "cloud")
    np.testing.assert_array_equal(cloud.colors, np.delete(COLORS, [2, 7], axis=0))
