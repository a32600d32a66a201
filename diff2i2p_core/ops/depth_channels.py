"""What the shape of a rendered surface looks like: image channels computed from its depth alone.

Inverse depth is linear in the pixel coordinates of a plane, so a linear fit to a window of it gives the exact
normal. Each pixel takes the best of five windows around it, so that normals do not mix both sides of an edge
(the principle of Kuwahara's filter).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.compiled import compiled
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
        channels[3 * at : 3 * at + 3] = _normals(inverse, half, camera)
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
    return np.asarray(_normals(_filled_inverse(depth, known), WINDOWS[0], camera) * known, np.float32)


def _filled_inverse(depth: NDArray[np.float32], known: NDArray[np.bool_]) -> Channel:
    """Inverse depth, of the nearest known pixel where it is unknown."""
    nearest, _ = nearest_pixels(np.flatnonzero(known), depth.shape, cv2.DIST_MASK_3)
    return np.asarray((1 / depth[known])[nearest], np.float32)


def _without_outliers(inverse: Channel) -> Channel:
    """Inverse depth without single outliers."""
    return np.asarray(cv2.medianBlur(inverse, 5), np.float32)


def _normals(inverse: Channel, half: int, camera: Camera) -> Channel:
    """(3, H, W) cosine to the line of sight, and x and y, of the unit normal (away from the camera) of the
    best plane at each pixel."""
    side = 2 * half + 1
    offsets = np.arange(-half, half + 1, dtype=np.float32)
    ones = np.full(side, 1 / side, np.float32)
    slope = offsets / (offsets @ offsets)

    def filtered(image: Channel, row: Channel, column: Channel) -> Channel:
        return np.asarray(cv2.sepFilter2D(image, cv2.CV_32F, row, column, borderType=cv2.BORDER_REPLICATE))

    mean, square = filtered(inverse, ones, ones), filtered(inverse * inverse, ones, ones)
    along_u, along_v = filtered(inverse, slope, ones), filtered(inverse, ones, slope)
    residual = _residuals(mean, square, along_u, along_v, offsets @ offsets / np.float32(side))
    planes = np.stack([_padded(image, half) for image in (mean, along_u, along_v, residual)])
    pinhole = np.float32(camera.fx), np.float32(camera.fy), np.float32(camera.cx), np.float32(camera.cy)
    return _best_normals(planes, half, *pinhole)


def _padded(image: Channel, margin: int) -> Channel:
    """A copy with a margin that repeats the border."""
    return np.asarray(cv2.copyMakeBorder(image, *(margin,) * 4, cv2.BORDER_REPLICATE))


@compiled
def _residuals(
    mean: Channel, square: Channel, along_u: Channel, along_v: Channel, spread: np.float32
) -> Channel:
    """Mean squares of what planes do not explain, and of the noise, from the mean and the mean square of
    inverse depth, its slopes, and the mean square of the window's offsets."""
    residual = np.empty_like(mean)
    for row in range(mean.shape[0]):
        for column in range(mean.shape[1]):
            middle, u, v = mean[row, column], along_u[row, column], along_v[row, column]
            unexplained = square[row, column] - middle * middle - (u * u + v * v) * spread
            noise = np.float32(_RELATIVE_NOISE) * middle
            residual[row, column] = max(unexplained, np.float32(0)) + noise * noise
    return residual


@compiled
def _best_normals(
    planes: Channel,
    half: int,
    fx: np.float32,
    fy: np.float32,
    cx: np.float32,
    cy: np.float32,
) -> Channel:
    """`_normals` from the planes (4, H, W) of the windows around all pixels, and `half` more to each side:
    mean, slopes along u and v, and residual."""
    mean, along_u, along_v, residual = planes
    height, width = mean.shape[0] - 2 * half, mean.shape[1] - 2 * half
    normals = np.empty((3, height, width), np.float32)
    for row in range(height):
        middle = slice(half, half + width)
        best, here = residual[row + half, middle].copy(), mean[row + half, middle].copy()
        slope_u, slope_v = along_u[row + half, middle].copy(), along_v[row + half, middle].copy()
        for dv in (-half, half):
            for du in (-half, half):
                there, corner = row + half + dv, slice(half + du, half + du + width)
                errors, means = residual[there, corner], mean[there, corner]
                us, vs = along_u[there, corner], along_v[there, corner]
                left, up = np.float32(du), np.float32(dv)
                for column in range(width):  # without branches, it is several columns at a time
                    better = errors[column] < np.float32(_BETTER) * best[column]
                    plane = means[column] - left * us[column] - up * vs[column]
                    best[column] = errors[column] if better else best[column]
                    here[column] = plane if better else here[column]
                    slope_u[column] = us[column] if better else slope_u[column]
                    slope_v[column] = vs[column] if better else slope_v[column]
        v = np.float32(row) - cy
        for column in range(width):
            u = np.float32(column) - cx
            x, y = slope_u[column] * fx, slope_v[column] * fy
            z = here[column] - slope_u[column] * u - slope_v[column] * v
            length = np.sqrt(x * x + y * y + z * z) + np.float32(1e-9)
            sight = np.sqrt((u / fx) * (u / fx) + (v / fy) * (v / fy) + np.float32(1))
            normals[0, row, column] = abs(here[column]) / (length * sight)
            normals[1, row, column], normals[2, row, column] = x / length, y / length
    return normals
