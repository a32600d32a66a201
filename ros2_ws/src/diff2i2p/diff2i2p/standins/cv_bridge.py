"""The part of cv_bridge that the node uses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from diff2i2p_core.messages.images import image_of


class CvBridgeError(TypeError):
    """A conversion is not possible."""


class CvBridge:
    """Converts between messages and arrays. `rgb8` is the only encoding of arrays."""

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str) -> NDArray[np.uint8]:
        """(H, W, 3) RGB, as a copy. InputError for an invalid message."""
        _check_encoding(desired_encoding)
        return image_of(img_msg, "image")

    def cv2_to_imgmsg(self, cvim: NDArray[Any], encoding: str, header: Header | None = None) -> Image:
        """A message of `cvim` (H, W, 3) uint8."""
        _check_encoding(encoding)
        height, width = cvim.shape[:2]
        message = Image(height=height, width=width, encoding=encoding, step=3 * width)
        if header is not None:
            message.header = header
        message.data = cvim.tobytes()  # as bytes: assigning an array takes a hundred times as long
        return message


def _check_encoding(encoding: str) -> None:
    if encoding != "rgb8":
        raise CvBridgeError(f"the stand-in for cv_bridge knows rgb8 only, not {encoding}")
