"""Images of a topic of video packets: each packet needs those before it, so they are decoded in order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.messages.encodings import COLORS
from diff2i2p_core.messages.images import MAX_PIXELS
from diff2i2p_core.messages.reference_gaps import ReferenceGaps

_LOW_DELAY = 1 << 19
"""FFmpeg's flag: give each picture with its own packet."""
_WITH_LUMA = ("gray", "yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "nv21")
"""FFmpeg's pixel formats whose first plane is the brightness, in bytes."""


def check_decoder() -> None:
    """InputError if PyAV is not installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        raise InputError("reading video needs PyAV; pip install 'diff2i2p_core[video]'") from None


class VideoDecoder:
    """Decodes the packets of one topic."""

    def __init__(self, codec: str) -> None:
        """`codec` is FFmpeg's name: h264 or hevc."""
        check_decoder()
        import av

        self.codec = codec
        self._errors: Any = av.FFmpegError
        self._packet: Any = av.Packet
        self._decoder: Any = av.CodecContext.create(codec, "r")
        self._decoder.flags |= _LOW_DELAY
        self._decoder.thread_type = "NONE"
        self._decoder.options = {"max_pixels": str(MAX_PIXELS)}
        self._gaps = ReferenceGaps()
        self._count = 0

    def image(self, message: Any) -> Any:
        """The picture of the next packet, like an Image; the message itself if it cannot be decoded.

        So are those before the first key frame, those from lost packets to the next key frame, and those of
        a video whose pictures come later than their packets.
        """
        data = bytes(message.data)
        if self.codec == "h264" and self._misses(data):
            self._decoder.flush_buffers()
        packet = self._packet(data)
        packet.pts = packet.dts = self._count
        self._count += 1
        try:
            pictures = [frame for frame in self._decoder.decode(packet) if frame.pts == packet.pts]
        except self._errors:
            return message
        if not pictures or pictures[-1].is_corrupt:
            return message
        return _as_image(pictures[-1], message)

    def _misses(self, data: bytes) -> bool:
        try:
            return self._gaps.before(data)
        except IndexError:
            return True


def _as_image(picture: Any, message: Any) -> Any:
    """A decoded picture with the header of its packet."""
    encoding, pixels = _pixels(picture, message.format)
    return SimpleNamespace(
        header=message.header,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=pixels[0].size,
        data=pixels.reshape(-1),
    )


def _pixels(picture: Any, form: str) -> tuple[str, NDArray[np.uint8]]:
    """Encoding and samples. ffmpeg_image_transport codes grey images and mosaics as brightness."""
    target = [*form.split(";"), "", ""][2].strip()
    known = COLORS.get(target)
    grey = known is not None and (known.channels, known.kind, known.half_chroma) == (1, "u1", False)
    if grey and picture.format.name in _WITH_LUMA:
        plane = picture.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        return target, np.ascontiguousarray(rows[: picture.height, : picture.width])
    return "rgb8", np.ascontiguousarray(picture.to_ndarray(format="rgb24"))
