"""CameraInfo messages to `Camera`, and the rectification of an image with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from diff2i2p.headers import check_frame, quoted
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera

COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}


def camera_from_info(message: CameraInfo, *, rectified: bool = False) -> Camera:
    """The camera of the images, region of interest and binning applied.

    K and the distortion of the message, or, for already `rectified` images, its projection matrix P.
    """
    check_frame(message.header.frame_id, "camera_info")
    try:
        matrix = np.asarray(message.p, float).reshape(3, 4)[:, :3] if rectified else np.asarray(message.k)
        fx, _, cx, _, fy, cy = (float(value) for value in np.ravel(matrix)[:6])
        model, distortion = ("none", ()) if rectified else _distortion(message)
        roi = message.roi
        x, y = roi.x_offset, roi.y_offset
        width, height = roi.width or message.width, roi.height or message.height
        bin_x, bin_y = max(1, message.binning_x), max(1, message.binning_y)
        full = Camera(width, height, fx, fy, cx - x, cy - y, model, distortion)
        return full.scaled_to(width // bin_x, height // bin_y) if (bin_x, bin_y) != (1, 1) else full
    except InputError as error:
        raise InputError(f"camera_info: {error}") from None


def rectified_image(image: NDArray[np.uint8], camera: Camera) -> tuple[NDArray[np.uint8], Camera]:
    """The image (H, W, 3) without lens distortion, and the pinhole camera it then belongs to."""
    height, width = image.shape[:2]
    if (width, height) != (camera.width, camera.height):
        raise InputError(
            f"image: it is {width}x{height}, but camera_info says {camera.width}x{camera.height}; "
            "publish the calibration of these images"
        )
    return np.asarray(camera.rectify(image), dtype=np.uint8), camera.undistorted()


def _distortion(message: CameraInfo) -> tuple[str, tuple[float, ...]]:
    coefficients = tuple(float(value) for value in message.d)
    if not any(coefficients):  # an undistorted camera names any model or none
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
