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
from diff2i2p_core.geometry.image_size import check_aspect
from diff2i2p_core.messages.encodings import COLORS, DEPTHS, Encoding, mosaic_of
from diff2i2p_core.messages.packets import checked_codec, is_video
from diff2i2p_core.messages.rvl import decode_rvl

MAX_PIXELS = 64_000_000
"""Larger images are refused before anything is allocated or decoded."""
FILES = ("JPEG", "PNG", "WEBP")
"""Compressed formats, by Pillow's names."""


def check_image(message: Any, where: str) -> None:
    """Refuse an Image or CompressedImage with inconsistent fields. Nothing is decoded.

    `where` begins the error message, here and below.
    """
    if not hasattr(message, "encoding"):
        _check_data(message, where)
        if "compressedDepth" in message.format:
            raise InputError(f"{where}: it is a depth image; name the topic of the colour images")
        if is_video(message):
            checked_codec(message, where)
            raise InputError(
                f"{where}: it is a packet of {quoted(message.format)} video that cannot be decoded, because "
                "packets before it are missing, or the video has B-frames; images come from the next key "
                "frame on, and B-frames can be turned off in the encoder"
            )
        return
    encoding = _check_raw(message, COLORS, where)
    subsampled = encoding.channels == 2 or encoding.half_chroma
    if (subsampled and message.width % 2) or (encoding.half_chroma and message.height % 2):
        raise InputError(
            f"{where}: {message.encoding} of odd size {message.width}x{message.height}; fix the publisher"
        )


def image_of(message: Any, where: str) -> NDArray[np.uint8]:
    """Image or CompressedImage to (H, W, 3) RGB, as a copy. Grey images get three equal channels."""
    check_image(message, where)
    if not hasattr(message, "encoding"):
        return _compressed_image(message, where)
    encoding = COLORS[message.encoding]
    return encoding.rgb(_pixels(message, encoding))


def size_of(message: Any, where: str) -> tuple[int, int]:
    """Width and height of an Image or CompressedImage, colour or depth. Nothing is decoded."""
    if hasattr(message, "encoding"):
        return int(message.width), int(message.height)
    _check_data(message, where)
    return _rvl_size(message, where) if _is_rvl(message) else _file_size(message, _file_start(message), where)


def check_depth(message: Any, where: str) -> None:
    """Refuse a depth Image or CompressedImage with inconsistent fields."""
    if not hasattr(message, "encoding"):
        _check_data(message, where)
    else:
        _check_raw(message, DEPTHS, where)


def depth_of(message: Any, where: str) -> NDArray[np.float32]:
    """Depth Image or CompressedImage to (H, W) in metres; 0 where nothing was measured."""
    check_depth(message, where)
    with np.errstate(invalid="ignore", divide="ignore"):
        if not hasattr(message, "encoding"):
            depth = _compressed_depth(message, where)
        else:
            encoding = DEPTHS[message.encoding]
            depth = _pixels(message, encoding)[..., 0].astype(np.float32)
            depth /= np.float32(1000 if encoding.kind == "u2" else 1)
        depth[~(np.isfinite(depth) & (depth > 0))] = 0
    return depth


def _check_raw(message: Any, encodings: dict[str, Encoding], where: str) -> Encoding:
    """The encoding. Refuses one that is not in `encodings`, and a size, step or data that do not match it."""
    encoding = encodings.get(message.encoding)
    if encoding is None:
        raise InputError(
            f"{where}: encoding {quoted(message.encoding)} is not supported; use one of "
            f"{', '.join(encodings)}"
        )
    _check_size(message.width, message.height, where)
    if message.step < message.width * encoding.pixel_bytes:
        raise InputError(
            f"{where}: step {message.step} is less than a row of {message.width} {message.encoding} pixels; "
            "fix the publisher"
        )
    rows = _rows(message.height, encoding)
    if len(message.data) != message.step * rows:
        raise InputError(
            f"{where}: {len(message.data)} bytes of data, but {rows} rows x step {message.step} "
            f"is {message.step * rows}; fix the publisher"
        )
    return encoding


def _rows(height: int, encoding: Encoding) -> int:
    """The rows of data of an image of this height."""
    return height * 3 // 2 if encoding.half_chroma else height


def _check_size(width: int, height: int, where: str) -> None:
    check_aspect(width, height, where)
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{where}: {width}x{height} is more than {MAX_PIXELS // 10**6} megapixels; use smaller images"
        )


def _check_data(message: Any, where: str) -> None:
    if not len(message.data):
        raise InputError(f"{where}: it holds no data; fix the publisher")


def _pixels(message: Any, encoding: Encoding) -> NDArray[Any]:
    """A copy of the samples (rows, W, channels) of a checked Image, in this machine's byte order."""
    item = np.dtype(encoding.kind).newbyteorder(">" if message.is_bigendian else "<")
    rows = _rows(message.height, encoding)
    data = np.frombuffer(message.data, np.uint8).reshape(rows, message.step)
    pixels = data[:, : message.width * encoding.pixel_bytes].copy().view(item)
    samples: NDArray[Any] = pixels.reshape(rows, message.width, encoding.channels)
    return samples.astype(encoding.kind, copy=False)


def _compressed_image(message: Any, where: str) -> NDArray[np.uint8]:
    mosaic = mosaic_of(message.format)
    if mosaic is not None:
        grey = _decoded(message, 0, cv2.IMREAD_UNCHANGED, where)
        if grey.ndim == 2:
            return mosaic._replace(kind=grey.dtype.str[1:]).rgb(grey)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return np.asarray(cv2.cvtColor(_decoded(message, 0, flags, where), cv2.COLOR_BGR2RGB), np.uint8)


def _decoded(message: Any, start: int, flags: int, where: str) -> NDArray[Any]:
    """The image file that begins at byte `start` of a CompressedImage, decoded by OpenCV with `flags`."""
    width, height = _file_size(message, start, where)
    pixels = cv2.imdecode(np.frombuffer(bytes(message.data)[start:], np.uint8), flags)
    if pixels is None or pixels.shape[:2] != (height, width):
        raise InputError(
            f"{where}: its {width}x{height} data (format {quoted(message.format)}) is damaged; "
            "fix the publisher"
        )
    return np.asarray(pixels)


def _file_size(message: Any, start: int, where: str) -> tuple[int, int]:
    """Width and height of the image file that begins at byte `start` of a CompressedImage."""
    data = bytes(message.data)[start:]
    try:
        # Reads only the header, so a decompression bomb is never unpacked.
        with Pillow.open(io.BytesIO(data), formats=FILES) as header:
            width, height = header.size
    except Exception:  # Pillow's parsers can raise anything
        raise InputError(
            f"{where}: its data ({len(data)} bytes, format {quoted(message.format)}) is not a readable "
            f"{', '.join(FILES[:-1])} or {FILES[-1]}; use one of them"
        ) from None
    _check_size(width, height, where)
    return width, height


def _file_start(message: Any) -> int:
    """Where the image file begins: compressed_depth_image_transport puts a header before it."""
    return 12 if "compressedDepth" in message.format else 0


def _is_rvl(message: Any) -> bool:
    return bool(_file_start(message)) and message.format.split()[-1].lower() == "rvl"


def _rvl_size(message: Any, where: str) -> tuple[int, int]:
    """Width and height, which are between the header and the code."""
    if len(message.data) < 20:
        raise InputError(f"{where}: its {len(message.data)} bytes of RVL data are damaged; fix the publisher")
    width, height = struct.unpack("<II", bytes(message.data[12:20]))
    _check_size(width, height, where)
    return width, height


def _rvl(message: Any, where: str) -> NDArray[np.uint16]:
    width, height = _rvl_size(message, where)
    try:
        return decode_rvl(bytes(message.data[20:]), width * height).reshape(height, width)
    except ValueError as error:
        raise InputError(
            f"{where}: its {width}x{height} RVL data is damaged ({error}); fix the publisher"
        ) from None


def _compressed_depth(message: Any, where: str) -> NDArray[np.float32]:
    """Metres from a PNG, or from compressed_depth_image_transport: a 12-byte header, and a PNG or RVL."""
    start = _file_start(message)
    raw = _rvl(message, where) if _is_rvl(message) else _decoded(message, start, cv2.IMREAD_UNCHANGED, where)
    if raw.ndim != 2 or raw.dtype != np.uint16:
        raise InputError(f"{where}: format {quoted(message.format)} is not 16-bit depth; name another topic")
    stored = raw.astype(np.float32)
    metres: NDArray[np.float32]
    if start and message.format.startswith("32FC1"):  # inverse depth
        _, a, b = struct.unpack("<iff", bytes(message.data[:12]))
        metres = np.where(raw > 0, np.float32(a) / (stored - np.float32(b)), np.float32(0))
    else:
        metres = stored / np.float32(1000)
    return metres
