"""The calibrations received lately, and the one in force at an image."""

from __future__ import annotations

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from diff2i2p.cameras import camera_from_info
from diff2i2p.poses import nanoseconds
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.messages.cameras import has_size
from diff2i2p_core.messages.images import size_of

REMEMBERED = 100
"""How many calibrations are remembered: an image may come a little later than its own."""


class CameraInfos:
    """An image gets the calibration with its stamp, as drivers send them; else the one received last."""

    def __init__(self, *, rectified: bool) -> None:
        """`rectified`: the images are already rectified."""
        self._rectified = rectified
        self._cameras: dict[int, Camera | CameraInfo] = {}
        """By stamp, in nanoseconds. A message without a size needs that of the image."""
        self._last: int | None = None
        """The stamp of the one received last."""
        self._paired = False

    @property
    def last(self) -> int | None:
        """The stamp of the calibration received last; None without one."""
        return self._last

    def add(self, message: CameraInfo) -> bool:
        """Whether it can be used. False: that depends on the image, whose size it does not tell.

        InputError for an invalid one; images then have none until the next.
        """
        self._last = None
        stamp = nanoseconds(message.header.stamp)
        self._cameras.pop(stamp, None)
        complete = has_size(message)
        found = camera_from_info(message, rectified=self._rectified) if complete else message
        self._cameras[stamp] = found
        while len(self._cameras) > REMEMBERED:
            del self._cameras[next(iter(self._cameras))]
        self._last = stamp
        return complete

    def camera(self, image: Image | CompressedImage) -> Camera | None:
        """The camera of an image; None without a calibration. InputError if that cannot be its own."""
        if self._last is None:
            return None
        stamp = nanoseconds(image.header.stamp)
        self._paired = stamp in self._cameras
        found = self._cameras[stamp if self._paired else self._last]
        if isinstance(found, Camera):
            return found
        return camera_from_info(found, size_of(image, "image"), rectified=self._rectified)

    def awaits(self, image: Image | CompressedImage) -> bool:
        """Whether the calibration with the image's stamp should still come: the previous image's did."""
        stamp = nanoseconds(image.header.stamp)
        return self._paired and self._last is not None and self._last < stamp and stamp not in self._cameras

    def reset(self) -> None:
        """Time jumped back: the stamps so far are of another time; the last calibration stays in force."""
        self._paired = False
        last = None if self._last is None else self._cameras[self._last]
        self._cameras = {} if last is None else {0: last}
        self._last = None if last is None else 0
