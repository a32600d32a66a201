"""Changes photos for training geometry features: other light, and other pictures on their surfaces.

Shape is what photo and render have in common. With few recorded places, features would learn what these
places look like instead, so their surfaces are papered with parts of other photos and lit from elsewhere.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import back_project
from diff2i2p_core.ops.depth_channels import fine_normals

Grey = NDArray[np.float32]

_SURFACES = 6
"""Maximum number of surfaces with another picture."""
_LIT = 0.35
"""Standard deviation of the logarithm of light from one side."""
_SAME_PLANE, _PARALLEL = 0.03, 0.94
"""Metres from the plane, per metre of distance, and minimum cosine of the normals of its pixels."""
_SIZES, _PICTURES = (0.15, 1.5), (0.5, 3.0)
"""Metres: half sides of papered rectangles, and sides of the pictures."""


def relit(grey: NDArray[np.uint8] | Grey, rng: np.random.Generator) -> Grey:
    """The photo with another contrast, in light that varies over it, with noise and sometimes blurred."""
    image = (grey.astype(np.float32) + 1) / 256
    image = image ** np.float32(rng.uniform(0.6, 1.6))
    light = rng.normal(0, 0.35, (3, 4)).astype(np.float32)
    image = image * np.exp(cv2.resize(light, image.shape[::-1], interpolation=cv2.INTER_CUBIC))
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.5))
    image = image + rng.normal(0, rng.uniform(0, 0.03), image.shape)
    return np.asarray(np.clip(image, 0, rng.uniform(0.8, 1.5)), np.float32)


def papered(
    grey: NDArray[np.uint8],
    depth: NDArray[np.float32],
    camera: Camera,
    pictures: NDArray[np.uint8],
    rng: np.random.Generator,
) -> Grey:
    """A photo (H, W) with parts of `pictures` (P, H, W) on some of its plane surfaces, lit from one side.

    `depth` (H, W) of its pixels in metres is 0 where unknown; there, the photo is not changed.
    """
    _, x, y = fine_normals(depth, camera)
    normals = np.stack([x, y, np.sqrt(np.maximum(1 - x * x - y * y, 0))], axis=2)
    points = back_project(depth, camera)
    known = np.flatnonzero(depth > 0)
    image = grey.astype(np.float32)
    if not len(known):
        return image
    for seed in rng.choice(known, int(rng.integers(_SURFACES + 1))):
        row, column = divmod(int(seed), depth.shape[1])
        picture = pictures[rng.integers(len(pictures))]
        _paper(image, points, normals, (row, column), picture, rng)
    side = rng.normal(0, _LIT, 3).astype(np.float32)
    return np.asarray(image * np.exp(np.where(depth > 0, normals @ side, 0)), np.float32)


def _paper(
    image: Grey,
    points: NDArray[np.float32],
    normals: NDArray[np.float32],
    pixel: tuple[int, int],
    picture: NDArray[np.uint8],
    rng: np.random.Generator,
) -> None:
    """Put a picture on a rectangle around a pixel, in its plane."""
    middle, normal = points[pixel], normals[pixel]
    offsets = points - middle
    same = (np.abs(offsets @ normal) < _SAME_PLANE * (1 + points[..., 2])) & (normals @ normal > _PARALLEL)
    across = np.linalg.qr(np.column_stack([normal, rng.normal(size=(3, 2))]))[0][:, 1:].astype(np.float32)
    along = offsets @ across
    least, most = np.log(_SIZES)
    half = np.exp(rng.uniform(least, most, 2)) if rng.random() < 0.6 else np.full(2, np.inf)
    inside = same & (points[..., 2] > 0) & (np.abs(along) < half).all(axis=2)
    scale = len(picture) / rng.uniform(*_PICTURES)
    at = (along * np.float32(scale) + rng.uniform(0, len(picture), 2)).astype(np.float32)
    paper = cv2.remap(
        picture.astype(np.float32), at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    share = np.float32(rng.uniform(0.5, 1.0))
    image[inside] = share * paper[inside] + (1 - share) * image[inside]
