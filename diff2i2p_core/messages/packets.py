"""Messages that hold a packet of a video, of whatever type, and the names of their codecs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from diff2i2p_core.errors import InputError, quoted

PACKET, VIDEO = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket", "foxglove_msgs/msg/CompressedVideo"
PACKETS = {
    PACKET: (
        "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\nuint8 flags\n"
        "bool is_bigendian\nuint8[] data"
    ),
    VIDEO: "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format",
}
"""Message types for packets, and their fields: a bag may lack the definition. The FFMPEGPacket of ROS 1 has
others, but its bags always have it."""
CODECS = {"h264": "h264", "h265": "hevc", "hevc": "hevc"}
"""Values of `format` of a CompressedImage that is a packet of a video, and FFmpeg's names of the codecs."""
_ENCODERS = {"libx264": "h264", "libx264rgb": "h264", "libopenh264": "h264", "libx265": "hevc"}
"""Other names that ffmpeg_image_transport uses: it names the encoder, in early versions."""


def codec_of(form: str) -> str | None:
    """FFmpeg's name of the codec; None if it is another one or no video.

    `form` is a codec ("hevc"), an encoder ("libx264", "h264_nvenc"), or one of them and the pixel formats on
    the way to it ("h264;yuv420p;bgr8;bgr8"), as ffmpeg_image_transport writes them.
    """
    name = form.partition(";")[0].strip().lower()
    return _ENCODERS.get(name) or CODECS.get(name.partition("_")[0])


def is_video(message: Any) -> bool:
    """Whether a message like a CompressedImage holds a packet of a video."""
    return hasattr(message, "codec") or codec_of(getattr(message, "format", "")) is not None


def checked_codec(message: Any, where: str) -> str:
    """FFmpeg's name of a packet's codec. InputError that begins with `where` if it cannot be read."""
    codec = codec_of(message.format)
    if codec is None:
        raise InputError(f"{where}: video of {quoted(message.format)} is not supported; use h264 or hevc")
    return codec


def as_compressed(message: Any) -> Any:
    """A message of one of the types in `PACKETS`, with the fields of a CompressedImage."""
    if hasattr(message, "timestamp"):
        header = SimpleNamespace(stamp=message.timestamp, frame_id=message.frame_id)
        form = message.format
    else:
        header, form = message.header, message.encoding
    return SimpleNamespace(header=header, format=form, data=message.data, codec=codec_of(form))


def define_packets(store: Any) -> None:
    """Add the types in `PACKETS` that a typestore of rosbags lacks."""
    from rosbags.typesys import get_types_from_msg

    for name, text in PACKETS.items():
        if name not in store.fielddefs:
            store.register(get_types_from_msg(text, name))
