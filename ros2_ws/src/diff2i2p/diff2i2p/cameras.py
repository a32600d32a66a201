"""CameraInfo messages to `Camera`, and the rectification of an image with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from diff2i2p.headers import check_frame
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.messages.cameras import camera_of


def camera_from_info(message: CameraInfo, *, rectified: bool = False) -> Camera:
    """The camera of the images, or of already `rectified` ones; InputError for a message that is no good."""
    check_frame(message.header.frame_id, "camera_info")
    return camera_of(message, "camera_info", rectified=rectified)


def rectified_image(image: NDArray[np.uint8], camera: Camera) -> tuple[NDArray[np.uint8], Camera]:
    """The image (H, W, 3) without lens distortion, and the pinhole camera it then belongs to."""
    camera.check_size(image.shape, "image")
    return np.asarray(camera.rectify(image), dtype=np.uint8), camera.undistorted()
