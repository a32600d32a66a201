"""Images of a bag's video topic: each packet needs those before it, so they are decoded in order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from diff2i2p_core.errors import InputError

CODECS = {"h264": "h264", "h265": "hevc", "hevc": "hevc"}
"""Values of `format` of a CompressedImage that is a packet of a video, and FFmpeg's names of the codecs."""
_LOW_DELAY = 1 << 19
"""FFmpeg's flag: give each picture with its own packet."""


def is_video(message: Any) -> bool:
    """Whether a message is a CompressedImage that holds a packet of a video."""
    return getattr(message, "format", "").strip().lower() in CODECS


class VideoDecoder:
    """Decodes the packets of one topic."""

    def __init__(self, codec: str) -> None:
        """`codec` is one of the keys of `CODECS`."""
        try:
            import av
        except ImportError:
            raise InputError("reading video needs PyAV; pip install 'diff2i2p_core[video]'") from None
        self._errors: Any = av.FFmpegError
        self._packet: Any = av.Packet
        self._decoder: Any = av.CodecContext.create(CODECS[codec], "r")
        self._decoder.flags |= _LOW_DELAY
        self._decoder.thread_type = "NONE"
        self._count = 0

    def image(self, message: Any) -> Any:
        """The picture of the next packet, like an Image; the message itself if it cannot be decoded, as
        before the first key frame, or in a video whose pictures come later than their packets."""
        packet = self._packet(bytes(message.data))
        packet.pts = packet.dts = self._count
        self._count += 1
        try:
            pictures = [frame for frame in self._decoder.decode(packet) if frame.pts == packet.pts]
        except self._errors:
            return message
        if not pictures:
            return message
        pixels = np.ascontiguousarray(pictures[-1].to_ndarray(format="rgb24"))
        height, width = pixels.shape[:2]
        return SimpleNamespace(
            header=message.header,
            height=height,
            width=width,
            encoding="rgb8",
            is_bigendian=0,
            step=3 * width,
            data=pixels.reshape(-1),
        )
