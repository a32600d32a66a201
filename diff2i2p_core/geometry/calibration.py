"""A camera's calibration as files and messages have it, and what is wrong or doubtful about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from diff2i2p_core.errors import InputError

OFF_CENTRE = 0.1
"""A principal point further from the middle, as a fraction of the image's side, is doubtful."""
SQUARE = 1.2
"""A larger ratio of the focal lengths is doubtful."""
WIDEST = 0.05
"""A focal length below this fraction of the image's width is not one in pixels."""


@dataclass(frozen=True)
class Calibration:
    """The content of a CameraInfo message or of a calibration file. Sizes that are 0 are unknown."""

    k: ArrayLike
    """The intrinsic matrix (3, 3) of the full image."""
    width: int = 0
    height: int = 0
    model: str = ""
    """The distortion model; "" if it is not named."""
    d: Sequence[float] = ()
    p: ArrayLike | None = None
    """The projection matrix (3, 4) of the rectified image."""
    roi: tuple[int, int, int, int] = (0, 0, 0, 0)
    """The part of the full image that is used: x, y, width, height."""
    binning: tuple[int, int] = (1, 1)

    @property
    def is_part(self) -> bool:
        """Whether the images are a part of the full image, whose principal point can be anywhere."""
        return any(self.roi) and self.roi != (0, 0, self.width, self.height)

    def matrix(self, *, rectified: bool) -> tuple[float, float, float, float]:
        """fx, fy, cx, cy of the full image, or of the `rectified` one (of K if there is no P)."""
        if rectified and self.p is not None:
            return pinhole(np.asarray(self.p, float).reshape(3, 4)[:, :3])
        return pinhole(self.k)

    def check_part(self) -> None:
        """InputError if the region of interest reaches beyond the full image."""
        x, y, width, height = self.roi
        right, bottom = x + (width or self.width), y + (height or self.height)
        if not (self.is_part and self.width and self.height):
            return
        if min(self.roi) < 0 or right > self.width or bottom > self.height:
            raise InputError(
                f"camera: the region of interest, {width}x{height} pixels at {x}, {y}, reaches beyond the "
                f"full image of {self.width}x{self.height}; give it in pixels of the full image"
            )

    def full_size(self, image: tuple[int, int] | None) -> tuple[int, int]:
        """Width and height before binning: of the region of interest, else of the full image.

        If the calibration has none, it is for `image` (width, height).
        """
        width, height = self.roi[2] or self.width, self.roi[3] or self.height
        if (width, height) == (0, 0) and image is not None:
            return image[0] * self.binning[0], image[1] * self.binning[1]
        return width, height


def pinhole(matrix: ArrayLike) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy of an intrinsic matrix (3, 3). InputError if it is transposed or has another form."""
    k = np.asarray(matrix, float).reshape(3, 3)
    if np.isfinite(k).all() and k.any():
        if not np.allclose(k[2], [0, 0, 1]):
            transposed = ", the matrix is transposed" if np.allclose(k[:, 2], [0, 0, 1]) else ""
            row = " ".join(f"{value:g}" for value in k[2])
            raise InputError(
                f"camera: the last row of the matrix is {row}, not 0 0 1{transposed}; "
                "give fx 0 cx / 0 fy cy / 0 0 1"
            )
        if abs(k[0, 1]) > 1 or abs(k[1, 0]) > 1:
            raise InputError(
                f"camera: the matrix has a skew ({k[0, 1]:g}, {k[1, 0]:g}), which is not supported; "
                "give fx 0 cx / 0 fy cy / 0 0 1"
            )
    return float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2])


def check_fits(width: int, height: int, fx: float, fy: float, cx: float, cy: float) -> None:
    """InputError if these intrinsics cannot be those of a whole image of `width` x `height`."""
    if not (0 < cx < width - 1 and 0 < cy < height - 1):
        raise InputError(
            f"camera: the principal point {cx:g}, {cy:g} is not inside the image of {width}x{height}; "
            "give the calibration of this image size"
        )
    if 0 < min(fx / width, fy / height) < WIDEST:
        raise InputError(
            f"camera: focal lengths {fx:g}, {fy:g} are not those of an image of {width}x{height}; "
            "give them in pixels"
        )


def doubts(width: int, height: int, fx: float, fy: float, cx: float, cy: float) -> list[str]:
    """What makes it doubtful that these intrinsics are those of an image of `width` x `height`."""
    found = []
    middle = (width - 1) / 2, (height - 1) / 2
    if abs(cx - middle[0]) > OFF_CENTRE * width or abs(cy - middle[1]) > OFF_CENTRE * height:
        found.append(
            f"the calibration may be of another image size: its principal point {cx:g}, {cy:g} is far from "
            f"the centre of the image, {middle[0]:g}, {middle[1]:g}"
        )
    if max(fx, fy) > SQUARE * min(fx, fy):
        found.append(
            f"the calibration may be of another image: its focal lengths {fx:g} and {fy:g} differ much"
        )
    return found
