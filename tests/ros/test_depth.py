"""Depth messages to metres: known values in every encoding, misfits refused."""

from __future__ import annotations

import numpy as np
import pytest

from diff2i2p_core.errors import InputError

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import Image

from diff2i2p.images import check_depth, depth_to_metres
from diff2i2p_core.messages.encodings import DEPTHS


def _message(numbers: np.ndarray, encoding: str, padding: int = 0) -> Image:
    rows = numbers.reshape(len(numbers), -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    height, width = numbers.shape
    message = Image(height=height, width=width, encoding=encoding, step=rows.shape[1], data=rows.tobytes())
    message.is_bigendian = int(numbers.dtype.byteorder == ">")
    message.header.stamp.sec = 5
    return message


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("kind", ["<u2", ">u2", "<f4", ">f4"])
def test_units_byte_orders_and_padded_rows(kind: str, padding: int) -> None:
    metres = np.arange(48, dtype=np.float32).reshape(6, 8) / 16
    millimetres = kind[1] == "u"
    numbers = (metres * 1000).astype(kind) if millimetres else metres.astype(kind)
    message = _message(numbers, "16UC1" if millimetres else "32FC1", padding)
    np.testing.assert_allclose(depth_to_metres(message), metres, atol=0.0006)


def test_what_was_not_measured_is_zero() -> None:
    numbers = np.ones((6, 8), "<f4")
    numbers[0, :4] = [np.nan, np.inf, -np.inf, -1]
    found = depth_to_metres(_message(numbers, "32FC1"))
    assert (found[0, :4] == 0).all() and (found[1:] == 1).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoding": "rgb8"}, "encoding 'rgb8' is not supported"),
        ({"step": 15}, "step 15 is less"),
        ({"data": b"1"}, "1 bytes of data"),
        ({"width": 2**31, "height": 2**31, "step": 2**32 - 1}, "megapixels"),
    ],
)
def test_inconsistent_messages_are_named(change: dict[str, object], words: str) -> None:
    message = _message(np.ones((6, 8), "<u2"), "16UC1")
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(InputError, match=words) as caught:
        depth_to_metres(message)
    assert str(caught.value).startswith("depth: ") and "\n" not in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(
    size=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    step=st.integers(0, 60),
    encoding=st.sampled_from([*DEPTHS, "8UC1"]),
    data=st.binary(max_size=600),
    big=st.integers(0, 1),
)
def test_any_message_gives_depth_or_one_fault(
    size: tuple[int, int], step: int, encoding: str, data: bytes, big: int
) -> None:
    message = Image(width=size[0], height=size[1], step=step, encoding=encoding, data=data, is_bigendian=big)
    message.header.stamp.sec = 1
    try:
        check_depth(message)
    except InputError as error:
        assert "\n" not in str(error)
        return
    found = depth_to_metres(message)
    assert np.isfinite(found).all() and (found >= 0).all()
