"""What the shape of a rendered surface looks like: image channels computed from its depth alone.

Inverse depth is linear in the pixel coordinates of a plane, so a linear fit to a window of it gives the exact
normal. Each pixel takes the best of five windows around it, so that normals do not mix both sides of an edge
(the principle of Kuwahara's filter).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.nearest_pixels import nearest_pixels

CHANNELS = 10
WINDOWS = (3, 7)
"""Half sides in pixels of the windows: small ones for detail, larger ones for noisy clouds."""
_RELATIVE_NOISE = 2e-3
"""Residuals of inverse depth below this fraction of it do not distinguish windows."""
_BETTER = 0.7
"""A window beside a pixel is taken if its residual is less than this part of the best one so far."""
_SURROUNDINGS = 1 / 8
"""Side of the window for the relief, as a fraction of the width."""

Channel = NDArray[np.float32]


def depth_channels(depth: NDArray[np.float32], camera: Camera) -> Channel:
    """(10, H, W) channels of about unit size, of depth (H, W) in metres, 0 where unknown.

    For each size of window: the cosine between the normal and the line of sight, and the normal's x and y in
    the camera's frame. Then the relief (how much nearer than its surroundings a pixel is), the strength of
    depth edges, inverse depth relative to its median, and whether the depth is known.
    """
    known = depth > 0
    if not known.any():
        return np.zeros((CHANNELS, *depth.shape), np.float32)
    inverse = _filled_inverse(depth, known)
    channels = np.empty((CHANNELS, *depth.shape), np.float32)
    for at, half in enumerate(WINDOWS):
        channels[3 * at : 3 * at + 3] = _normals(*_fitted_planes(inverse, half), camera)
    smooth = _without_outliers(inverse)
    around = cv2.blur(smooth, (round(depth.shape[1] * _SURROUNDINGS) | 1,) * 2)
    kernel = np.ones((3, 3), np.uint8)
    jump = np.log(cv2.dilate(smooth, kernel) / cv2.erode(smooth, kernel))
    np.clip(4 * np.log(smooth / around), -2, 2, out=channels[6])
    np.minimum(5 * jump, 2, out=channels[7])
    np.clip(inverse / np.median(inverse[known]) - 1, -1, 3, out=channels[8])
    channels[9] = 1
    channels *= known.astype(np.float32)
    return channels


def fine_normals(depth: NDArray[np.float32], camera: Camera) -> Channel:
    """(3, H, W): the first three of `depth_channels` alone, those of the small window."""
    known = depth > 0
    if not known.any():
        return np.zeros((3, *depth.shape), np.float32)
    plane = _fitted_planes(_filled_inverse(depth, known), WINDOWS[0])
    return np.asarray(np.stack(_normals(*plane, camera)) * known, np.float32)


def _filled_inverse(depth: NDArray[np.float32], known: NDArray[np.bool_]) -> Channel:
    """Inverse depth, of the nearest known pixel where it is unknown."""
    nearest, _ = nearest_pixels(np.flatnonzero(known), depth.shape, cv2.DIST_MASK_3)
    return np.asarray((1 / depth[known])[nearest], np.float32)


def _without_outliers(inverse: Channel) -> Channel:
    """Inverse depth without single outliers."""
    return np.asarray(cv2.medianBlur(inverse, 5), np.float32)


def _fitted_planes(inverse: Channel, half: int) -> tuple[Channel, Channel, Channel]:
    """Inverse depth of the best plane at each pixel, and its slopes along u and v."""
    side = 2 * half + 1
    offsets = np.arange(-half, half + 1, dtype=np.float32)
    ones = np.full(side, 1 / side, np.float32)
    slope = offsets / (offsets @ offsets)

    def filtered(image: Channel, row: Channel, column: Channel) -> Channel:
        return np.asarray(cv2.sepFilter2D(image, cv2.CV_32F, row, column, borderType=cv2.BORDER_REPLICATE))

    mean = filtered(inverse, ones, ones)
    along_u, along_v = filtered(inverse, slope, ones), filtered(inverse, ones, slope)
    spread = (offsets @ offsets) / np.float32(side)
    residual = filtered(inverse * inverse, ones, ones) - mean**2 - (along_u**2 + along_v**2) * spread
    residual = np.maximum(residual, 0) + (np.float32(_RELATIVE_NOISE) * mean) ** 2
    around = [_padded(image, half) for image in (mean, along_u, along_v, residual)]
    height, width = inverse.shape
    for dv, du in ((-half, -half), (-half, half), (half, -half), (half, half)):
        rows, columns = slice(half + dv, half + dv + height), slice(half + du, half + du + width)
        there, slope_u, slope_v, error = (image[rows, columns] for image in around)
        # OpenCV needs a third of numpy's time for a masked copy
        better = cv2.compare(error, np.float32(_BETTER) * residual, cv2.CMP_LT)
        here = cv2.scaleAdd(slope_v, -dv, cv2.scaleAdd(slope_u, -du, there))
        for best, new in ((residual, error), (mean, here), (along_u, slope_u), (along_v, slope_v)):
            cv2.copyTo(new, better, best)
    return mean, along_u, along_v


def _padded(image: Channel, margin: int) -> Channel:
    """A copy with a margin that repeats the border."""
    return np.asarray(cv2.copyMakeBorder(image, *(margin,) * 4, cv2.BORDER_REPLICATE))


def _normals(inverse: Channel, along_u: Channel, along_v: Channel, camera: Camera) -> list[Channel]:
    """Cosine to the line of sight, and x and y, of the unit normals (away from the camera) of planes."""
    u = (np.arange(camera.width) - camera.cx).astype(np.float32)
    v = (np.arange(camera.height) - camera.cy).astype(np.float32)[:, None]
    x, y = along_u * np.float32(camera.fx), along_v * np.float32(camera.fy)
    z = inverse - along_u * u - along_v * v
    length = np.sqrt(x * x + y * y + z * z) + np.float32(1e-9)
    sight = np.sqrt((u / np.float32(camera.fx)) ** 2 + (v / np.float32(camera.fy)) ** 2 + 1)
    return [np.abs(inverse) / (length * sight), x / length, y / length]
