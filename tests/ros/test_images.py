"""Image messages to RGB: known pixels in every encoding, and every kind of misfit refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from diff2i2p_core.errors import InputError

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from sensor_msgs.msg import CompressedImage, Image

from diff2i2p.images import check_image, image_to_rgb
from diff2i2p_core.messages.images import MAX_PIXELS


def _message(pixels: np.ndarray, encoding: str, padding: int = 0) -> Image:
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    message = Image(height=height, width=width, encoding=encoding, step=rows.shape[1], data=rows.tobytes())
    message.header.stamp.sec = 5
    return message


@pytest.fixture
def rgb() -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8"])
def test_colour_encodings_and_padded_rows(rgb: np.ndarray, encoding: str, padding: int) -> None:
    pixels = rgb if encoding.startswith("rgb") else rgb[..., ::-1]
    if encoding.endswith("a8"):
        pixels = np.dstack([pixels, np.full(rgb.shape[:2], 9, np.uint8)])
    np.testing.assert_array_equal(image_to_rgb(_message(pixels, encoding, padding)), rgb)


def test_grey_fills_three_channels(rgb: np.ndarray) -> None:
    grey = rgb[..., 0]
    np.testing.assert_array_equal(image_to_rgb(_message(grey, "mono8", 3)), np.dstack([grey] * 3))


@pytest.mark.parametrize(
    ("encoding", "order"),
    [("uyvy", "uyvy"), ("yuv422", "uyvy"), ("yuyv", "yuyv"), ("yuv422_yuy2", "yuyv")],
)
def test_yuv_keeps_the_colour_of_a_plain_image(encoding: str, order: str) -> None:
    """A plain red-ish image in BT.601 video range, whose two pixels share one u and one v."""
    values = {"y": 112, "u": 93, "v": 184}  # of (200, 80, 40) by the formulas of BT.601
    row = np.array([values[letter] for letter in order] * 4, np.uint8)
    found = image_to_rgb(_message(np.tile(row, (6, 1)).reshape(6, 8, 2), encoding, 4))
    np.testing.assert_allclose(found, np.broadcast_to([200, 80, 40], (6, 8, 3)), atol=3)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_keep_the_colours_of_a_plain_image(pattern: str) -> None:
    """A plain red-ish image sampled through the pattern named by ROS comes back in its colour."""
    colour = {"r": 200, "g": 120, "b": 40}
    mosaic = np.empty((8, 8), np.uint8)
    for place, letter in enumerate(pattern):
        mosaic[place // 2 :: 2, place % 2 :: 2] = colour[letter]
    found = image_to_rgb(_message(mosaic, f"bayer_{pattern}8"))
    np.testing.assert_array_equal(found[2:-2, 2:-2], np.broadcast_to([200, 120, 40], (4, 4, 3)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoding": "16UC1"}, "encoding '16UC1' is not supported"),
        ({"encoding": ""}, "encoding '' is not supported"),
        ({"step": 10}, "step 10 is less"),
        ({"step": 0}, "step 0 is less"),
        ({"step": 40}, "bytes of data"),
        ({"height": 5}, "bytes of data"),
        ({"height": 0}, "size is 8x0"),
        ({"width": 0}, "size is 0x6"),
        ({"width": 2**31, "height": 2**31, "step": 2**32 - 1}, "megapixels"),
        ({"data": b""}, "0 bytes of data"),
    ],
)
def test_inconsistent_messages_are_named(rgb: np.ndarray, change: dict[str, object], words: str) -> None:
    message = _message(rgb, "rgb8")
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(InputError, match=words) as caught:
        check_image(message)
    assert "\n" not in str(caught.value)


def test_an_image_without_time_is_refused(rgb: np.ndarray) -> None:
    message = _message(rgb, "rgb8")
    message.header.stamp.sec = 0
    with pytest.raises(InputError, match="time stamp is zero"):
        image_to_rgb(message)


def _compressed(data: bytes, form: str = "png") -> CompressedImage:
    message = CompressedImage(format=form, data=data)
    message.header.stamp.sec = 5
    return message


def test_compressed_png_is_exact(rgb: np.ndarray) -> None:
    data = cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()
    np.testing.assert_array_equal(image_to_rgb(_compressed(data)), rgb)


def test_damaged_compressed_images_are_refused(rgb: np.ndarray) -> None:
    data = cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()
    for bad in (b"", b"no image at all", data[:20]):
        with pytest.raises(InputError, match=r"^image: "):
            image_to_rgb(_compressed(bad))


def test_a_compressed_bomb_is_refused_before_it_is_unpacked() -> None:
    side = int(MAX_PIXELS**0.5) + 100
    data = cv2.imencode(".png", np.zeros((side, side), np.uint8))[1].tobytes()
    assert len(data) < 300_000
    with pytest.raises(InputError, match="megapixels"):
        image_to_rgb(_compressed(data))
