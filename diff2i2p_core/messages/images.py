"""Converts image messages, from a bag or from ROS, to RGB and depth arrays. A fault raises InputError."""

from __future__ import annotations

import io
import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from diff2i2p_core.errors import InputError, quoted

MAX_PIXELS = 64_000_000
"""Larger images are refused before anything is allocated or decoded."""
MAX_ASPECT = 20
"""A narrow strip is refused: resampled to the network's height, it would be huge."""
COLORS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "bayer_rggb8": (1, cv2.COLOR_BayerRGGB2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerBGGR2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGBRG2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGRBG2RGB),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
}
"""Encodings of images: bytes per pixel, and OpenCV's conversion to RGB."""
DEPTHS = {"16UC1": ("u2", 1000), "mono16": ("u2", 1000), "32FC1": ("f4", 1)}
"""Encodings of depth (REP 118): the numeric type, and the value of one metre."""
FILES = ("JPEG", "PNG")


def check_image(message: Any, where: str) -> None:
    """Refuse an Image or CompressedImage with inconsistent fields. Nothing is decoded.

    `where` begins the error message, here and below.
    """
    if not hasattr(message, "encoding"):
        _check_data(message, where)
        if "compressedDepth" in message.format:
            raise InputError(f"{where}: it is a depth image; name the topic of the colour images")
        return
    _check_raw(message, {name: size for name, (size, _) in COLORS.items()}, where)
    if COLORS[message.encoding][0] == 2 and message.width % 2:
        raise InputError(f"{where}: {message.encoding} of odd width {message.width}; fix the publisher")


def image_of(message: Any, where: str) -> NDArray[np.uint8]:
    """Image or CompressedImage to (H, W, 3) RGB, as a copy. Grey images get three equal channels."""
    check_image(message, where)
    if not hasattr(message, "encoding"):
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        return np.asarray(cv2.cvtColor(_decoded(message, 0, flags, where), cv2.COLOR_BGR2RGB), np.uint8)
    size, code = COLORS[message.encoding]
    pixels = _pixels(message, "u1", size)
    return pixels if code is None else np.asarray(cv2.cvtColor(pixels, code), np.uint8)


def check_depth(message: Any, where: str) -> None:
    """Refuse a depth Image or CompressedImage with inconsistent fields."""
    if not hasattr(message, "encoding"):
        _check_data(message, where)
    else:
        _check_raw(message, {name: np.dtype(kind).itemsize for name, (kind, _) in DEPTHS.items()}, where)


def depth_of(message: Any, where: str) -> NDArray[np.float32]:
    """Depth Image or CompressedImage to (H, W) in metres; 0 where nothing was measured."""
    check_depth(message, where)
    with np.errstate(invalid="ignore", divide="ignore"):
        if not hasattr(message, "encoding"):
            depth = _compressed_depth(message, where)
        else:
            kind, per_metre = DEPTHS[message.encoding]
            depth = _pixels(message, kind, 1)[..., 0].astype(np.float32) / np.float32(per_metre)
        depth[~(np.isfinite(depth) & (depth > 0))] = 0
    return depth


def _check_raw(message: Any, pixel_bytes: dict[str, int], where: str) -> None:
    """Refuse an encoding not in `pixel_bytes`, or a size, step or amount of data that does not match it."""
    size = pixel_bytes.get(message.encoding)
    if size is None:
        raise InputError(
            f"{where}: encoding {quoted(message.encoding)} is not supported; use one of "
            f"{', '.join(pixel_bytes)}"
        )
    _check_size(message.width, message.height, where)
    if message.step < message.width * size:
        raise InputError(
            f"{where}: step {message.step} is less than a row of {message.width} {message.encoding} pixels; "
            "fix the publisher"
        )
    if len(message.data) != message.step * message.height:
        raise InputError(
            f"{where}: {len(message.data)} bytes of data, but height {message.height} x step {message.step} "
            f"is {message.step * message.height}; fix the publisher"
        )


def _check_size(width: int, height: int, where: str) -> None:
    if width == 0 or height == 0 or max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(f"{where}: the size is {width}x{height}; fix the publisher")
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{where}: {width}x{height} is more than {MAX_PIXELS // 10**6} megapixels; use smaller images"
        )


def _check_data(message: Any, where: str) -> None:
    if not len(message.data):
        raise InputError(f"{where}: it holds no data; fix the publisher")


def _pixels(message: Any, kind: str, channels: int) -> NDArray[Any]:
    """A copy of the pixels (H, W, channels) of a checked Image."""
    item = np.dtype((">" if message.is_bigendian else "<") + kind)
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    pixels = rows[:, : message.width * channels * item.itemsize].copy()
    samples: NDArray[Any] = pixels.view(item).reshape(message.height, message.width, channels)
    return samples


def _decoded(message: Any, start: int, flags: int, where: str) -> NDArray[Any]:
    """The image file that begins at byte `start` of a CompressedImage, decoded by OpenCV with `flags`."""
    data = bytes(message.data)[start:]
    try:
        # Reads only the header, so a decompression bomb is never unpacked.
        with Pillow.open(io.BytesIO(data), formats=FILES) as header:
            (width, height), kind = header.size, header.format
    except Exception:  # Pillow's parsers can raise anything
        raise InputError(
            f"{where}: its data ({len(data)} bytes, format {quoted(message.format)}) is not a readable JPEG "
            "or PNG; use one of them"
        ) from None
    _check_size(width, height, where)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None or pixels.shape[:2] != (height, width):
        raise InputError(f"{where}: its {width}x{height} {kind} data is damaged; fix the publisher")
    return np.asarray(pixels)


def _compressed_depth(message: Any, where: str) -> NDArray[np.float32]:
    """Metres from a PNG, or from compressed_depth_image_transport's format: a 12-byte header and a PNG."""
    transport = "compressedDepth" in message.format
    raw = _decoded(message, 12 if transport else 0, cv2.IMREAD_UNCHANGED, where)
    if raw.ndim != 2 or raw.dtype != np.uint16:
        raise InputError(f"{where}: format {quoted(message.format)} is not 16-bit depth; name another topic")
    stored = raw.astype(np.float32)
    metres: NDArray[np.float32]
    if transport and message.format.startswith("32FC1"):  # inverse depth
        _, a, b = struct.unpack("<iff", bytes(message.data[:12]))
        metres = np.where(raw > 0, np.float32(a) / (stored - np.float32(b)), np.float32(0))
    else:
        metres = stored / np.float32(1000)
    return metres
