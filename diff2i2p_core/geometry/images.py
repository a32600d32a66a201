"""Whether images and the camera that is said to have taken them belong together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.image_size import check_aspect
from diff2i2p_core.typing import Image


def check_images(image: Image, camera: Camera, depth: NDArray[np.float32] | None = None) -> None:
    """InputError unless a camera can have taken the image (H, W, 3) and its registered depth (H, W)."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"image: {image.dtype} of shape {image.shape}; give (H, W, 3) uint8 RGB")
    check_aspect(image.shape[1], image.shape[0], "image")
    camera.check_size(image.shape, "image")
    if depth is not None:
        camera.check_size(depth.shape, "depth")
