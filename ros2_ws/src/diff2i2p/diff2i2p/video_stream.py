"""Images from packets of a video, decoded as they come: each needs those before it."""

from __future__ import annotations

from typing import Any

from sensor_msgs.msg import Image

from diff2i2p.parameters import Parameters
from diff2i2p_core.errors import InputError
from diff2i2p_core.messages.packets import PACKET, as_compressed, checked_codec, is_video
from diff2i2p_core.messages.video import VideoDecoder, check_decoder

try:
    from ffmpeg_image_transport_msgs.msg import FFMPEGPacket
except ImportError:
    FFMPEGPacket = None

__all__ = ["TRANSPORT", "FFMPEGPacket", "VideoStream", "check_transport"]

TRANSPORT = "ffmpeg"
"""The value of `image_transport` for topics of `FFMPEGPacket`."""


def check_transport(parameters: Parameters) -> None:
    """InputError if what the parameter `image_transport` needs is not installed."""
    if parameters.image_transport != TRANSPORT:
        return
    if FFMPEGPacket is None:
        package = PACKET.partition("/")[0]
        apt = f"ros-jazzy-{package.replace('_', '-')}"
        raise InputError(f"image_transport: ffmpeg needs the ROS package {package}; apt install {apt}")
    check_decoder()


class VideoStream:
    """The images of one topic."""

    def __init__(self) -> None:
        self._decoder: VideoDecoder | None = None

    def image(self, message: Any) -> Any:
        """A packet's picture as an Image, or the packet if it cannot be decoded. Images are passed through.

        The packet is a CompressedImage or a FFMPEGPacket.
        """
        if FFMPEGPacket is not None and isinstance(message, FFMPEGPacket):
            message = as_compressed(message)
        elif not is_video(message):
            return message
        codec = checked_codec(message, "image")
        if self._decoder is None or self._decoder.codec != codec:
            self._decoder = VideoDecoder(codec)
        picture = self._decoder.image(message)
        if picture is message:
            return message
        return Image(**{**vars(picture), "data": picture.data.tobytes()})

    def reset(self) -> None:
        """The stream starts again."""
        self._decoder = None
