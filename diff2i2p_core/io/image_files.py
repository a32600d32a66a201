"""Image and depth files. Pixels are as stored: calibrations are of these, so EXIF orientation is ignored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.depth import MAX_DEPTH
from diff2i2p_core.geometry.image_size import check_aspect
from diff2i2p_core.io.files import atomic_path


def read_image(path: Path | str) -> NDArray[np.uint8]:
    """An image file as (H, W, 3) uint8 RGB."""
    return decode_image(_bytes(path), path)


def decode_image(encoded: bytes, where: Path | str) -> NDArray[np.uint8]:
    """The bytes of an image file as (H, W, 3) uint8 RGB. `where` begins the error message."""
    image = _decoded(encoded, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise InputError(f"{where}: cannot be read as an image; give a valid PNG or JPEG file")
    check_aspect(image.shape[1], image.shape[0], str(where))
    return np.ascontiguousarray(image[..., ::-1])


def read_depth(path: Path | str, max_depth: float = MAX_DEPTH) -> NDArray[np.float32]:
    """A 16-bit PNG in millimetres as (H, W) float32 metres; 0 if invalid (0, 65535) or beyond `max_depth`."""
    return decode_depth(_bytes(path), path, max_depth)


def decode_depth(
    encoded: bytes, where: Path | str, max_depth: float = MAX_DEPTH, per_metre: float = 1000
) -> NDArray[np.float32]:
    """The bytes of a 16-bit PNG as depth, as in `read_depth`. `per_metre` is the pixel value of one metre."""
    raw = _decoded(encoded, cv2.IMREAD_UNCHANGED)
    if raw is None or raw.dtype != np.uint16 or raw.ndim != 2:
        raise InputError(f"{where}: cannot be read as a 16-bit depth image; give a valid PNG in millimetres")
    depth = raw.astype(np.float32)
    depth /= per_metre
    depth[depth > max_depth] = 0
    return depth


def _bytes(path: Path | str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give an image file") from None


def _decoded(encoded: bytes, flags: int) -> NDArray[Any] | None:
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), flags) if encoded else None


def write_image(path: Path, image: NDArray[Any], options: Sequence[int] = ()) -> None:
    """Write an RGB or one-channel image in the format given by the suffix. `options` are OpenCV's."""
    # Encoded in memory, because OpenCV does not report a full disk.
    bgr = image[..., ::-1] if image.ndim == 3 else image
    _, encoded = cv2.imencode(path.suffix, np.ascontiguousarray(bgr), options)
    with atomic_path(path) as part:
        part.write_bytes(encoded.tobytes())
