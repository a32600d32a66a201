"""The encodings of image messages, and how their samples become RGB or metres."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray


class Encoding(NamedTuple):
    """How the pixels of an image are stored."""

    channels: int
    """Samples per pixel, of the first plane if there are two."""
    code: int | None
    """OpenCV's conversion to RGB; None if they are RGB."""
    kind: str = "u1"
    """The samples' numeric type, without byte order."""
    half_chroma: bool = False
    """Half as many rows of colour follow those of brightness (4:2:0)."""

    @property
    def pixel_bytes(self) -> int:
        return self.channels * np.dtype(self.kind).itemsize

    def rgb(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        """Samples (H, W, channels) to (H, W, 3) RGB. 16 bits are scaled to 8, as cv_bridge does."""
        pixels = samples if self.code is None else cv2.cvtColor(samples, self.code)
        return np.asarray(
            pixels if self.kind == "u1" else cv2.convertScaleAbs(pixels, alpha=255 / 65535), np.uint8
        )


def _of_both_depths(prefix: str, channels: int, code: int | None) -> dict[str, Encoding]:
    return {
        f"{prefix}8": Encoding(channels, code),
        f"{prefix}16": Encoding(channels, code, "u2"),
    }


COLORS: dict[str, Encoding] = {
    **_of_both_depths("rgb", 3, None),
    **_of_both_depths("bgr", 3, cv2.COLOR_BGR2RGB),
    **_of_both_depths("rgba", 4, cv2.COLOR_RGBA2RGB),
    **_of_both_depths("bgra", 4, cv2.COLOR_BGRA2RGB),
    **_of_both_depths("mono", 1, cv2.COLOR_GRAY2RGB),
    **_of_both_depths("bayer_rggb", 1, cv2.COLOR_BayerRGGB2RGB),
    **_of_both_depths("bayer_bggr", 1, cv2.COLOR_BayerBGGR2RGB),
    **_of_both_depths("bayer_gbrg", 1, cv2.COLOR_BayerGBRG2RGB),
    **_of_both_depths("bayer_grbg", 1, cv2.COLOR_BayerGRBG2RGB),
    "8UC1": Encoding(1, cv2.COLOR_GRAY2RGB),
    "8UC3": Encoding(3, cv2.COLOR_BGR2RGB),
    "8UC4": Encoding(4, cv2.COLOR_BGRA2RGB),
    "uyvy": Encoding(2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422": Encoding(2, cv2.COLOR_YUV2RGB_UYVY),
    "yuyv": Encoding(2, cv2.COLOR_YUV2RGB_YUY2),
    "yuv422_yuy2": Encoding(2, cv2.COLOR_YUV2RGB_YUY2),
    "nv12": Encoding(1, cv2.COLOR_YUV2RGB_NV12, half_chroma=True),
    "nv21": Encoding(1, cv2.COLOR_YUV2RGB_NV21, half_chroma=True),
}
"""Encodings of images. OpenCV's own names (8UC3) have its order of colours, as in cv_bridge."""
DEPTHS = {
    "16UC1": Encoding(1, None, "u2"),
    "mono16": Encoding(1, None, "u2"),
    "32FC1": Encoding(1, None, "f4"),
}
"""Encodings of depth (REP 118): integers are millimetres, floats are metres."""


def mosaic_of(form: str) -> Encoding | None:
    """The Bayer pattern of the grey file in a CompressedImage with this `format`.

    Such as "bayer_rggb8; jpeg compressed bayer_rggb8", where image_transport does not convert. None if the
    file holds colours or grey.
    """
    source, _, compression = form.partition(";")
    *_, target = compression.split() or [""]
    name = target if target in COLORS else source.strip()
    return COLORS.get(name) if name.startswith("bayer_") else None
