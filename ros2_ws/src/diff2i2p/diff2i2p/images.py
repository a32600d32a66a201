"""The node's image messages, colour and depth. Headers are checked here; bags share all other checks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.logging import get_logger
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from diff2i2p.headers import check_header
from diff2i2p.packages import package
from diff2i2p.standins import cv_bridge as standin
from diff2i2p_core.errors import reason
from diff2i2p_core.messages import images

cv_bridge: Any = package("cv_bridge")
BRIDGE, STANDIN = cv_bridge.CvBridge(), standin.CvBridge()

_refused: set[str] = set()
"""Encodings that the installed cv_bridge does not convert to RGB."""


def check_image(message: Image | CompressedImage) -> None:
    """Refuse an image without a time or with inconsistent fields. Costs microseconds."""
    check_header(message.header, "image")
    images.check_image(message, "image")


def image_to_rgb(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """An image as (H, W, 3) uint8 RGB, as a copy. InputError for an invalid message.

    Compressed images are not left to cv_bridge: it decodes files of any size, and no grey ones.
    """
    check_image(message)
    if not hasattr(message, "encoding"):
        return images.image_of(message, "image")
    if cv_bridge is not standin and message.encoding not in _refused:
        try:
            return _converted(message)
        except Exception as error:
            _refused.add(message.encoding)
            words = f"cv_bridge does not convert {message.encoding} ({reason(error)}); converted without it"
            get_logger("diff2i2p").info(words)
    return STANDIN.imgmsg_to_cv2(message, "rgb8")


def _converted(message: Image) -> NDArray[np.uint8]:
    """By the installed cv_bridge; anything may be raised."""
    kind, channels = BRIDGE.encoding_to_dtype_with_channels(message.encoding)
    if message.step % (np.dtype(kind).itemsize * channels):
        return STANDIN.imgmsg_to_cv2(message, "rgb8")  # it takes rows to be whole pixels long
    pixels = np.asarray(BRIDGE.imgmsg_to_cv2(message, "rgb8"))
    if pixels.shape != (message.height, message.width, 3) or pixels.dtype != np.uint8:
        raise ValueError(f"it gives {pixels.shape} {pixels.dtype}")
    return pixels


def rgb_message(pixels: NDArray[np.uint8], header: Header) -> Image:
    """A message of (H, W, 3) RGB."""
    message: Image = BRIDGE.cv2_to_imgmsg(pixels, "rgb8", header)
    return message


def check_depth(message: Image) -> None:
    """Refuse a depth image without a time or with inconsistent fields."""
    check_header(message.header, "depth")
    images.check_depth(message, "depth")


def depth_to_metres(message: Image) -> NDArray[np.float32]:
    """Depth (H, W) in metres, 0 where nothing was measured. InputError for an invalid message."""
    check_header(message.header, "depth")
    return images.depth_of(message, "depth")
