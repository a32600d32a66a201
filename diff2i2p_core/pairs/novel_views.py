"""New views of a recorded RGB-D image, as seen from a nearby position."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import back_project
from diff2i2p_core.geometry.nearest_pixels import nearest_pixels
from diff2i2p_core.geometry.se3 import transform_points


def novel_view(
    image: NDArray[np.uint8], depth: NDArray[np.float32], camera: Camera, target_from_source: ArrayLike
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Move an image (H, W, 3) and its depth (H, W) to another pose of the same camera.

    Pixels are moved by their depth, and the nearest wins. Pixels without depth move with their neighbour's,
    but have no depth in the new view. Gaps are filled with the surrounding colours and have no depth.
    """
    known = depth > 0
    if not known.any():
        return image, depth
    points = back_project(depth.ravel()[_nearest_index(known)], camera).reshape(-1, 3)
    moved = transform_points(target_from_source, points)
    pixels, z = camera.project(moved)
    # From far to near, so that the nearest is written last.
    order = np.argsort(-z)
    order = order[z[order] > 0.1]
    source = _carry(np.rint(pixels[order]).astype(np.int64), order, camera)
    # Moving closer leaves gaps between pixels, so each also fills the 2 x 2 around it if nothing is nearer.
    corners = np.floor(pixels[order]).astype(np.int64)
    for offset in ((0, 0), (1, 0), (0, 1), (1, 1)):
        other = _carry(corners + offset, order, camera)
        better = (other >= 0) & ((source < 0) | (z[other] < 0.95 * z[source]))
        source[better] = other[better]
    gaps = source < 0
    colors = image.reshape(-1, 3)[np.where(gaps, 0, source)]
    new_depth = np.where(gaps | ~known.ravel()[np.where(gaps, 0, source)], 0, z[source]).astype(np.float32)
    if gaps.any() and not gaps.all():
        colors = colors.reshape(-1, 3)[_nearest_index(~gaps)]
    return colors.astype(np.uint8), new_depth


def _carry(pixels: NDArray[np.int64], order: NDArray[np.int64], camera: Camera) -> NDArray[np.int64]:
    """(H, W) which of `order` lands on each pixel; the last one wins; -1 if none does."""
    columns, rows = pixels.T
    inside = (rows >= 0) & (rows < camera.height) & (columns >= 0) & (columns < camera.width)
    source = np.full((camera.height, camera.width), -1, np.int64)
    source[rows[inside], columns[inside]] = order[inside]
    return source


def _nearest_index(known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Flat index (H, W) of the nearest known pixel of each pixel."""
    pixels = np.flatnonzero(known)
    return pixels[nearest_pixels(pixels, (known.shape[0], known.shape[1]), cv2.DIST_MASK_3)[0]]
