"""For every pixel of an image, the nearest one of some of its pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def nearest_pixels(
    known: NDArray[np.int64], shape: tuple[int, int], mask: int = cv2.DIST_MASK_5
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each pixel (H, W), the row of the nearest of the pixels `known` (N,), and its distance in pixels.

    `known` are flat indices, ascending, one or more. `mask` is the size of OpenCV's mask: a larger one
    measures distances more exactly, but takes longer.
    """
    unknown = np.ones(shape, np.uint8)
    unknown.ravel()[known] = 0
    distance, labels = cv2.distanceTransformWithLabels(
        unknown, cv2.DIST_L2, mask, labelType=cv2.DIST_LABEL_PIXEL
    )
    # OpenCV numbers them in the order of the pixels, from 1
    return np.asarray(labels, np.int64) - 1, np.asarray(distance, np.float32)
