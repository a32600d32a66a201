"""The node's image messages, colour and depth. Headers are checked here; bags share all other checks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from diff2i2p.headers import check_header
from diff2i2p_core.messages import images


def check_image(message: Image | CompressedImage) -> None:
    """Refuse an image without a time or with inconsistent fields. Costs microseconds."""
    check_header(message.header, "image")
    images.check_image(message, "image")


def image_to_rgb(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """An image as (H, W, 3) uint8 RGB, as a copy. InputError for an invalid message."""
    check_header(message.header, "image")
    return images.image_of(message, "image")


def check_depth(message: Image) -> None:
    """Refuse a depth image without a time or with inconsistent fields."""
    check_header(message.header, "depth")
    images.check_depth(message, "depth")


def depth_to_metres(message: Image) -> NDArray[np.float32]:
    """Depth (H, W) in metres, 0 where nothing was measured. InputError for an invalid message."""
    check_header(message.header, "depth")
    return images.depth_of(message, "depth")
