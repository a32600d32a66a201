"""CameraInfo messages to `Camera`."""

from __future__ import annotations

from sensor_msgs.msg import CameraInfo

from diff2i2p.headers import check_frame
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.messages.cameras import camera_of


def camera_from_info(
    message: CameraInfo, image: tuple[int, int] | None = None, *, rectified: bool = False
) -> Camera:
    """The camera of the images, or of already `rectified` images. InputError for an invalid message.

    `image` is width and height of an image, for messages without a size.
    """
    check_frame(message.header.frame_id, "camera_info")
    return camera_of(message, "camera_info", image, rectified=rectified)
