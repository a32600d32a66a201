"""Photometric alignment: a pose is moved until the coloured map, drawn into the image, looks like the image.

Direct and coarse to fine, as in dense visual odometry (Steinbruecker et al., ICCVW 2011; Kerl et al., ICRA
2013): at each level of an image pyramid the map's visible points are drawn with their depth, and Gauss-Newton
steps bring the drawn colours onto the image's. Gain and offset of each colour channel are free, so exposure
and white balance of map and image may differ. How well both agree in the end tells right from wrong poses.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.covariance import perturb, reprojection
from diff2i2p_core.geometry.se3 import Array, invert, rotation_error_deg, transform_points, translation_error
from diff2i2p_core.mapping.submaps import visible_points

LEVELS = (40, 80, 160)
"""Widths of the pyramid's images."""
ROUNDS, STEPS = 2, 8
"""Drawings a level, Gauss-Newton steps a drawing."""
BLUR = 1.0
"""Standard deviation, in pixels of a level, of the blur of both pictures: it widens the basin."""
MAX_SAMPLES = 4000
"""Pixels compared at a level: the information of more is the same."""
MIN_SAMPLES = 150
GAINS = (0.3, 3.0)
"""Between the contrast of the map and of the image."""
HOPELESS = 0.3
"""Agreement at any level below which no more is tried."""
MAX_DEPTH = 6.0
"""Metres; farther points are not drawn."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Alignment:
    map_from_camera: Array
    covariance: Array
    """(6, 6), ROS order; takes the pixels' errors as independent."""
    agreement: float
    """Correlation of the map's colours and the image's over the compared pixels, mean of three channels."""
    coverage: float
    """Part of the image's pixels that were compared."""


@dataclass(frozen=True)
class _Level:
    camera: Camera
    stack: Floats
    """(H, W, 9): colours and their derivatives by u and v."""


class PhotometricTarget:
    """An image (H, W, 3) RGB, of a camera without distortion, that maps are aligned to."""

    def __init__(self, image: NDArray[np.uint8], camera: Camera) -> None:
        self._levels = [_level(image, camera, width) for width in LEVELS]

    def align(
        self,
        start: Array,
        points: NDArray[np.float32],
        colors: NDArray[np.uint8],
        voxel: float,
        *,
        max_metres: float = 0.8,
        max_deg: float = 25.0,
    ) -> Alignment | None:
        """Move the pose `start` (map_from_camera) until the map's points (N, 3) fit.

        `voxel` is the points' spacing in metres. None where too little of the map is seen, nothing in it has
        contrast, the colours have nothing in common, or the pose moves farther than the limits.
        """
        pose, found = np.array(start), None
        for level in self._levels:
            seen = visible_points(
                points, invert(pose), level.camera, max_depth=MAX_DEPTH, voxel=voxel, margin=0.1
            )
            for _ in range(ROUNDS):
                found = _fit(level, pose, points[seen], colors[seen])
                if found is None:
                    return None
                pose = found.map_from_camera
                if found.agreement < HOPELESS:
                    return None
                if translation_error(pose, start) > max_metres or rotation_error_deg(pose, start) > max_deg:
                    return None
        return found


def _level(image: NDArray[np.uint8], camera: Camera, width: int) -> _Level:
    small = camera.scaled_to(width, max(1, round(camera.height * width / camera.width)))
    size = (small.width, small.height)
    small_image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    colors = np.asarray(cv2.GaussianBlur(small_image, (0, 0), BLUR), np.float32)
    by_u = cv2.Sobel(colors, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    by_v = cv2.Sobel(colors, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    return _Level(small, np.concatenate([colors, by_u, by_v], axis=2))


def _fit(level: _Level, pose: Array, points: Floats, colors: NDArray[np.uint8]) -> Alignment | None:
    """Draw the visible points once, then take Gauss-Newton steps from `pose`."""
    drawn, world, drawn_share = _draw(level.camera, pose, points, colors)
    limits = np.array([level.camera.width - 1, level.camera.height - 1])
    for left in range(STEPS, -1, -1):
        pixels, z, jacobian = reprojection(pose, world, level.camera)
        inside = (z > 0.1) & (pixels >= 0).all(axis=1) & (pixels <= limits).all(axis=1)
        if inside.sum() < MIN_SAMPLES:
            return None
        values = _sample(level.stack, pixels[inside])
        observed, by_u, by_v = values[:, :3], values[:, 3:6], values[:, 6:]
        expected, agreement = _explained(drawn[inside], observed)
        residual = observed - expected
        squared = (residual**2).sum(axis=1)
        weight = 1 / (1 + squared / (2.25 * np.median(squared) + 1e-6))
        # Summed over the channels, a pixel counts by the 2 x 2 structure tensor of its colours.
        uu, uv, vv = (by_u**2).sum(axis=1), (by_u * by_v).sum(axis=1), (by_v**2).sum(axis=1)
        tensor = np.stack([uu, uv, uv, vv], axis=1).reshape(-1, 2, 2)
        slope = np.stack([(by_u * residual).sum(axis=1), (by_v * residual).sum(axis=1)], axis=1)
        j = jacobian[inside]
        weighted = j * weight[:, None, None]
        hessian = (weighted.transpose(2, 0, 1).reshape(6, -1)) @ (tensor @ j).reshape(-1, 6)
        if np.linalg.eigvalsh(hessian)[0] <= 1e-9 * np.trace(hessian):
            return None
        step = -np.linalg.solve(hessian, np.einsum("nki,nk->i", weighted, slope))
        if not left or np.abs(step).max() < 2e-4:
            break
        pose = perturb(pose, step)
    variance = float((weight * squared).sum() / (3 * weight.sum()))
    return Alignment(pose, np.linalg.inv(hessian) * variance, agreement, drawn_share * float(inside.mean()))


def _draw(
    camera: Camera, pose: Array, points: Floats, colors: NDArray[np.uint8]
) -> tuple[Array, Array, float]:
    """The map's blurred picture from a pose: colours (K, 3) and map points (K, 3) of an even choice of those
    pixels that have any, and the share of these of all pixels."""
    width, height = camera.width, camera.height
    pixels, z = camera.project(transform_points(invert(pose), points))
    sums = np.zeros((5, height * width))
    corner = np.floor(pixels).astype(np.int64)
    for du, dv in ((0, 0), (1, 0), (0, 1), (1, 1)):
        u, v = corner[:, 0] + du, corner[:, 1] + dv
        share = (1 - np.abs(pixels[:, 0] - u)) * (1 - np.abs(pixels[:, 1] - v))
        share[(u < 0) | (u >= width) | (v < 0) | (v >= height)] = 0
        cell = (v.clip(0, height - 1) * width + u.clip(0, width - 1)).astype(np.int64)
        for row, value in zip(sums, (1.0, z, *colors.T), strict=True):
            row += np.bincount(cell, share * value, height * width)
    image = np.ascontiguousarray(sums.T.reshape(height, width, 5), np.float32)
    blurred = cv2.GaussianBlur(image, (0, 0), BLUR).reshape(-1, 5).astype(np.float64)
    known = np.flatnonzero(sums[0] > 1e-3)
    chosen = known[:: max(1, -(-len(known) // MAX_SAMPLES))]
    weight, depth, *_ = blurred[chosen].T
    v, u = np.divmod(chosen, width)
    depth = depth / weight
    in_camera = np.stack(
        [(u - camera.cx) / camera.fx * depth, (v - camera.cy) / camera.fy * depth, depth], axis=1
    )
    return blurred[chosen, 2:] / weight[:, None], transform_points(pose, in_camera), len(known) / len(sums[0])


def _explained(drawn: Array, observed: Array) -> tuple[Array, float]:
    """The drawn colours (K, 3) with the gain and offset of each channel that fit the observed ones best, and
    the mean correlation of both."""
    mean, target = drawn.mean(axis=0), observed.mean(axis=0)
    centered, wanted = drawn - mean, observed - target
    power, cross = (centered**2).mean(axis=0), (centered * wanted).mean(axis=0)
    gain = np.clip(cross / np.maximum(power, 1.0), *GAINS)
    correlation = cross / np.sqrt(np.maximum(power * (wanted**2).mean(axis=0), 1.0))
    return centered * gain + target, float(correlation.mean())


def _sample(stack: Floats, pixels: Array) -> Array:
    """Bilinear values (K, C) of a picture (H, W, C) at pixels (K, 2) inside it."""
    limits = np.array(stack.shape[1::-1]) - 2
    corner = np.clip(np.floor(pixels), 0, limits).astype(np.int64)
    right, down = (pixels - corner).T[:, :, None]
    u, v = corner.T
    above = stack[v, u] * (1 - right) + stack[v, u + 1] * right
    below = stack[v + 1, u] * (1 - right) + stack[v + 1, u + 1] * right
    return np.asarray(above * (1 - down) + below * down)
