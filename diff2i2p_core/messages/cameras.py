"""Converts CameraInfo messages, from a bag or from ROS, to cameras. Needs no ROS."""

from __future__ import annotations

from typing import Any

import numpy as np

from diff2i2p_core.errors import InputError, quoted
from diff2i2p_core.geometry.camera import Camera

COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
"""Distortion models and their numbers of coefficients."""


def camera_of(message: Any, where: str, *, rectified: bool = False) -> Camera:
    """The camera of the images described by a CameraInfo, including its region of interest and binning.

    Uses K and the distortion of the message or, for already `rectified` images, its projection matrix P.
    """
    try:
        matrix = np.asarray(message.p, float).reshape(3, 4)[:, :3] if rectified else np.asarray(message.k)
        fx, _, cx, _, fy, cy = (float(value) for value in np.ravel(matrix)[:6])
        lens = ("none", ()) if rectified else _distortion(message)
        roi = message.roi
        width, height = int(roi.width or message.width), int(roi.height or message.height)
        camera = Camera(width, height, fx, fy, cx - roi.x_offset, cy - roi.y_offset, *lens)
        bins = max(1, int(message.binning_x)), max(1, int(message.binning_y))
        return camera.scaled_to(width // bins[0], height // bins[1]) if bins != (1, 1) else camera
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _distortion(message: Any) -> tuple[str, tuple[float, ...]]:
    coefficients = tuple(float(value) for value in message.d)
    if not any(coefficients):  # an undistorted camera may name any model or none
        return "none", ()
    model = message.distortion_model
    allowed = COEFFICIENTS.get(model)
    if allowed is None:
        known = ", ".join(COEFFICIENTS)
        raise InputError(f"distortion model {quoted(model)} is not supported; use one of {known}")
    if len(coefficients) not in allowed:
        counts = " or ".join(str(count) for count in allowed)
        raise InputError(f"{len(coefficients)} distortion coefficients; {model} has {counts}")
    return model, coefficients
