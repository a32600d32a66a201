"""The shapes of images that can be processed."""

from __future__ import annotations

from diff2i2p_core.errors import InputError

MAX_ASPECT = 20
"""A narrower strip is refused: resampled to a usual height, it would be huge."""


def check_aspect(width: int, height: int, where: str) -> None:
    """InputError that begins with `where` for an empty image and for a strip."""
    if width == 0 or height == 0:
        raise InputError(f"{where}: the size is {width}x{height}, it is empty; give a whole image")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(
            f"{where}: the size is {width}x{height}, a strip; give an image of at most {MAX_ASPECT}:1"
        )
