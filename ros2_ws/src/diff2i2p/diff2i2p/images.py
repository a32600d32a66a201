"""Image messages, raw and compressed, to RGB arrays. Every fault of a message raises one InputError."""

from __future__ import annotations

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from sensor_msgs.msg import CompressedImage, Image

from diff2i2p.headers import check_header, quoted
from diff2i2p_core.errors import InputError

MAX_PIXELS = 64_000_000
"""Larger claims are refused before anything is allocated or decoded."""

CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
CHANNELS |= {"uyvy": 2, "yuv422": 2, "yuyv": 2, "yuv422_yuy2": 2}
"""Accepted colour encodings and their bytes a pixel; the four Bayer patterns below have one byte."""

BAYER_TO_RGB = {
    "bayer_rggb8": cv2.COLOR_BayerRGGB2RGB,
    "bayer_bggr8": cv2.COLOR_BayerBGGR2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGBRG2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGRBG2RGB,
}
TO_RGB = {"bgr8": cv2.COLOR_BGR2RGB, "rgba8": cv2.COLOR_RGBA2RGB, "bgra8": cv2.COLOR_BGRA2RGB}
TO_RGB |= {"mono8": cv2.COLOR_GRAY2RGB} | BAYER_TO_RGB
TO_RGB |= dict.fromkeys(("uyvy", "yuv422"), cv2.COLOR_YUV2RGB_UYVY)
TO_RGB |= dict.fromkeys(("yuyv", "yuv422_yuy2"), cv2.COLOR_YUV2RGB_YUY2)

FORMATS = ("JPEG", "PNG")

MAX_ASPECT = 20
"""A strip of pixels is no picture; resampled to the network's height it would be without end."""


def check_image(message: Image) -> None:
    """Refuse an image whose header, encoding, size, step or data do not fit together. Costs microseconds."""
    check_header(message.header, "image")
    channels = 1 if message.encoding in BAYER_TO_RGB else CHANNELS.get(message.encoding)
    if channels is None:
        known = ", ".join((*CHANNELS, *BAYER_TO_RGB))
        raise InputError(
            f"image: encoding {quoted(message.encoding)} is not supported; publish one of {known}"
        )
    check_layout(message, channels, "image")
    if channels == 2 and message.width % 2:
        raise InputError(f"image: {message.encoding} of odd width {message.width}; mend the publisher")


def check_layout(message: Image, pixel_bytes: int, what: str) -> None:
    """Refuse a size, step or amount of data that do not fit together; `what` names the topic."""
    _check_size(message.width, message.height, what)
    if message.step < message.width * pixel_bytes:
        raise InputError(
            f"{what}: step {message.step} is less than a row of {message.width} {message.encoding} pixels; "
            "mend the publisher"
        )
    if len(message.data) != message.step * message.height:
        raise InputError(
            f"{what}: {len(message.data)} bytes of data, but height {message.height} x step {message.step} "
            f"is {message.step * message.height}; mend the publisher"
        )


def image_to_rgb(message: Image) -> NDArray[np.uint8]:
    """A raw image as (H, W, 3) uint8 RGB, in memory of its own. All encodings are bytes: no endianness."""
    check_image(message)
    channels = CHANNELS.get(message.encoding, 1)
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    pixels = rows[:, : message.width * channels].reshape(message.height, message.width, channels)
    if message.encoding == "rgb8":
        return pixels.copy()
    code = TO_RGB[message.encoding]
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), code), dtype=np.uint8)


def check_compressed(message: CompressedImage) -> None:
    """Refuse a compressed image without stamp or data, or of a transport that is no plain image file."""
    check_header(message.header, "image")
    if not message.data:
        raise InputError("compressed image: it holds no data; mend the publisher")
    if "compressedDepth" in message.format:
        raise InputError("compressed image: it is a depth image; remap image/compressed")


def compressed_to_rgb(message: CompressedImage) -> NDArray[np.uint8]:
    """A JPEG or PNG file in a message as (H, W, 3) uint8 RGB; grey images are spread."""
    check_compressed(message)
    data = bytes(message.data)
    try:
        # Reads the header alone: a bomb is never unpacked.
        with Pillow.open(io.BytesIO(data), formats=FORMATS) as header:
            (width, height), kind = header.size, header.format
    except Exception:  # whatever Pillow's parsers meet
        raise InputError(
            f"compressed image: the data ({len(data)} bytes, format {quoted(message.format)}) is no readable "
            "JPEG or PNG; publish one of them"
        ) from None
    _check_size(width, height, "compressed image")
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None or bgr.shape[:2] != (height, width):
        raise InputError(f"compressed image: its {width}x{height} {kind} data is damaged; mend the publisher")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _check_size(width: int, height: int, what: str) -> None:
    if width == 0 or height == 0 or max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(f"{what}: the size is {width}x{height}; mend the publisher")
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{what}: {width}x{height} is over {MAX_PIXELS // 10**6} megapixels; publish smaller images"
        )
