"""Depth image messages to metres, and their rectification beside the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from diff2i2p.headers import check_header, quoted
from diff2i2p.images import check_layout
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import rectify_depth

ENCODINGS = {"16UC1": ("u2", 0.001), "mono16": ("u2", 0.001), "32FC1": ("f4", 1.0)}
"""REP 118: the number's type, and metres of one unit."""


def check_depth(message: Image) -> None:
    """Refuse a depth image whose header, encoding, size, step or data do not fit together."""
    check_header(message.header, "depth")
    if message.encoding not in ENCODINGS:
        known = ", ".join(ENCODINGS)
        raise InputError(
            f"depth: encoding {quoted(message.encoding)} is not supported; publish one of {known}"
        )
    check_layout(message, int(ENCODINGS[message.encoding][0][1]), "depth")


def depth_to_metres(message: Image, camera: Camera) -> NDArray[np.float32]:
    """Depth (H, W) registered to the rectified image of `camera`; 0 where nothing was measured."""
    check_depth(message)
    if (message.width, message.height) != (camera.width, camera.height):
        raise InputError(
            f"depth: it is {message.width}x{message.height}, the image {camera.width}x{camera.height}; "
            "publish depth that is registered to the image"
        )
    kind, unit = ENCODINGS[message.encoding]
    numbers = np.ndarray(
        shape=(message.height, message.width),
        dtype=(">" if message.is_bigendian else "<") + kind,
        buffer=memoryview(message.data),
        strides=(message.step, int(kind[1])),
    )
    with np.errstate(invalid="ignore"):
        metres = numbers.astype(np.float32) * np.float32(unit)
        metres[~(np.isfinite(metres) & (metres > 0))] = 0.0
    return rectify_depth(metres, camera)
