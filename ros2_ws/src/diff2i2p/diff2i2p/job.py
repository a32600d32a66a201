"""What the worker gets for an image."""

from __future__ import annotations

from dataclasses import dataclass

from sensor_msgs.msg import CompressedImage, Image

from diff2i2p_core.geometry.camera import Camera


@dataclass(frozen=True)
class Job:
    """An image to localize, with the calibration in force at it."""

    message: Image | CompressedImage
    camera: Camera
    camera_frame: str
    received: float
    """Monotonic seconds."""
    depth: Image | None = None
    name: str = ""
    """The camera's, if there are several."""
    others: tuple[Job, ...] = ()
    """Images of other cameras on the body, at about the same time."""
