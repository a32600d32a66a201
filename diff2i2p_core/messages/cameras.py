"""Converts CameraInfo messages, from a bag or from ROS, to cameras. Needs no ROS."""

from __future__ import annotations

from typing import Any

import numpy as np

from diff2i2p_core.errors import located
from diff2i2p_core.geometry.calibration import Calibration
from diff2i2p_core.geometry.camera import Camera


def camera_of(
    message: Any, where: str, image: tuple[int, int] | None = None, *, rectified: bool = False
) -> Camera:
    """The camera of the images described by a CameraInfo, including its region of interest and binning.

    Uses K and the distortion of the message or, for already `rectified` images, its projection matrix P.
    `image` is width and height of an image, for messages without a size.
    """
    roi = message.roi
    calibration = Calibration(
        np.asarray(message.k, float),
        int(message.width),
        int(message.height),
        message.distortion_model,
        tuple(float(value) for value in message.d),
        np.asarray(message.p, float),
        (int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height)),
        (max(1, int(message.binning_x)), max(1, int(message.binning_y))),
    )
    with located(where):
        return Camera.of(calibration, image, rectified=rectified)


def has_size(message: Any) -> bool:
    """Whether a CameraInfo says how large its images are."""
    return bool(message.width or message.height or message.roi.width or message.roi.height)
