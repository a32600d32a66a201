"""Photometric alignment: a pose is moved until the coloured map, drawn into the image, looks like the image.

Direct and coarse to fine, as in dense visual odometry (Steinbruecker et al., ICCVW 2011; Kerl et al., ICRA
2013): at each level of an image pyramid the map's visible points are drawn with their depth, and Gauss-Newton
steps bring the drawn colours onto the image's. Gain and offset of each colour channel are free, so exposure
and white balance of map and image may differ. How well both agree in the end tells right from wrong poses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.covariance import perturb, reprojection
from diff2i2p_core.geometry.se3 import Array, invert, is_near, rigid, transform_points
from diff2i2p_core.mapping.submaps import visible_points

LEVELS = (40, 80, 160)
"""Widths of the pyramid's images."""
ROUNDS, STEPS = 2, 8
"""Drawings a level, Gauss-Newton steps a drawing at most."""
ENOUGH = 0.01
"""Pixels of a level: a step that moves them less is the last."""
BLUR = 1.0
"""Standard deviation, in pixels of a level, of the blur of both pictures: it widens the basin."""
MAX_SAMPLES = 3000
"""Pixels compared at a level: the information of more is the same."""
MIN_SAMPLES = 150
GAINS = (0.3, 3.0)
"""Between the contrast of the map and of the image."""
HOPELESS = 0.3
"""Agreement at any level below which no more is tried."""
RESEEN_METRES, RESEEN_DEG = 0.05, 3.0
"""What is visible is found anew when the pose has moved farther."""
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
    colors: Floats
    """(H, W, 3)."""

    @property
    def limits(self) -> NDArray[np.int64]:
        """The largest column and row."""
        return np.array([self.camera.width, self.camera.height]) - 1


class _Drawing(NamedTuple):
    colors: Array
    """(K, 3)."""
    by_u: Array
    """(K, 3) derivatives of the colours."""
    by_v: Array
    points: Array
    """(K, 3) map frame."""
    share: float
    """Part of the image that was drawn."""


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
        seen, seen_from = np.empty(0, np.int64), None
        for level in self._levels:
            for _ in range(ROUNDS):
                if seen_from is None or not is_near(pose, seen_from, RESEEN_METRES, RESEEN_DEG):
                    view = invert(pose)
                    seen = visible_points(
                        points, view, level.camera, max_depth=MAX_DEPTH, voxel=voxel, margin=0.1
                    )
                    seen_from = pose
                found = _fit(level, pose, points[seen], colors[seen])
                if found is None or found.agreement < HOPELESS:
                    return None
                pose = found.map_from_camera
                if not is_near(pose, start, max_metres, max_deg):
                    return None
        return found


def _level(image: NDArray[np.uint8], camera: Camera, width: int) -> _Level:
    small = camera.scaled_to(width, max(1, round(camera.height * width / camera.width)))
    size = (small.width, small.height)
    colors = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    return _Level(small, np.asarray(cv2.GaussianBlur(colors, (0, 0), BLUR), np.float32))


def _fit(level: _Level, start: Array, points: Floats, colors: NDArray[np.uint8]) -> Alignment | None:
    """Draw the visible points from `start`, then take steps, all with the derivatives of that drawing.

    Inverse compositional (Baker and Matthews, IJCV 2004): the drawing is moved towards the image, and
    the pose the other way.
    """
    drawing = _draw(level.camera, start, points, colors)
    drawn, count = drawing.colors, len(drawing.colors)
    if count < MIN_SAMPLES:
        return None
    pixels, _, jacobian = reprojection(start, drawing.points, level.camera)
    residual, gain, _ = _misfit(drawn, _sample(level.colors, pixels))
    squared = (residual * residual) @ np.ones(3)
    weight = 1 / (1 + squared / (2.25 * np.median(squared) + 1e-6))
    by_u, by_v = (drawing.by_u * gain)[:, :, None], (drawing.by_v * gain)[:, :, None]
    slopes = (by_u * jacobian[:, None, 0] + by_v * jacobian[:, None, 1]).reshape(-1, 6)
    weighted = (slopes.reshape(count, -1) * weight[:, None]).reshape(-1, 6).T
    hessian = weighted @ slopes
    if np.linalg.eigvalsh(hessian)[0] <= 1e-9 * np.trace(hessian):
        return None
    pose = start
    for _ in range(STEPS):
        step = np.linalg.solve(hessian, weighted @ residual.ravel())
        # Made rigid: the product has three times the rounding errors of `start`, as the next start has of it.
        pose = rigid(start @ invert(perturb(start, step)) @ pose)
        pixels, z = level.camera.project(transform_points(invert(pose), drawing.points))
        inside = (z > 0.1) & (pixels >= 0).all(axis=1) & (pixels <= level.limits).all(axis=1)
        if inside.sum() < MIN_SAMPLES:
            return None
        residual = np.zeros_like(drawn)
        residual[inside], _, agreement = _misfit(drawn[inside], _sample(level.colors, pixels[inside]))
        if np.abs(jacobian @ step).mean() < ENOUGH:
            break
    variance = float(weight @ (residual * residual).sum(axis=1) / (3 * weight[inside].sum()))
    covariance = np.linalg.inv(hessian) * variance
    return Alignment(pose, covariance, agreement, drawing.share * float(inside.mean()))


def _draw(camera: Camera, pose: Array, points: Floats, colors: NDArray[np.uint8]) -> _Drawing:
    """The map's blurred picture from a pose, at an even choice of the pixels that have any."""
    width, height = camera.width, camera.height
    pixels, z = camera.project(transform_points(invert(pose), points))
    sums = np.zeros((5, height * width))
    corner = np.floor(pixels).astype(np.int64)
    for du, dv in ((0, 0), (1, 0), (0, 1), (1, 1)):
        u, v = corner[:, 0] + du, corner[:, 1] + dv
        share = (1 - np.abs(pixels[:, 0] - u)) * (1 - np.abs(pixels[:, 1] - v))
        share[(u < 0) | (u >= width) | (v < 0) | (v >= height)] = 0
        cell = v.clip(0, height - 1) * width + u.clip(0, width - 1)
        for row, value in zip(sums, (1.0, z, *colors.T), strict=True):
            row += np.bincount(cell, share * value, height * width)
    image = np.ascontiguousarray(sums.T.reshape(height, width, 5), np.float32)
    blurred = np.asarray(cv2.GaussianBlur(image, (0, 0), BLUR))
    picture = blurred / np.maximum(blurred[..., :1], 1e-6)
    known = cv2.erode((blurred[..., 0] > 1e-3).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    known &= image[..., 0] > 1e-3
    chosen = np.flatnonzero(known)
    chosen = chosen[:: max(1, -(-len(chosen) // MAX_SAMPLES))]
    by_u, by_v = (
        np.asarray(cv2.Sobel(picture[..., 2:], cv2.CV_64F, *axes, ksize=3, scale=1 / 8), np.float64)
        for axes in ((1, 0), (0, 1))
    )
    _, depth, *_ = at = picture.reshape(-1, 5)[chosen].astype(np.float64).T
    v, u = np.divmod(chosen, width)
    in_camera = np.stack(
        [(u - camera.cx) / camera.fx * depth, (v - camera.cy) / camera.fy * depth, depth], axis=1
    )
    return _Drawing(
        colors=at[2:].T,
        by_u=by_u.reshape(-1, 3)[chosen],
        by_v=by_v.reshape(-1, 3)[chosen],
        points=transform_points(pose, in_camera),
        share=float(known.mean()),
    )


def _misfit(drawn: Array, observed: Array) -> tuple[Array, Array, float]:
    """What the drawn colours (K, 3) leave of the observed ones, with the gain (3,) and offset of each channel
    that fit best, and the mean correlation of both."""
    mean, target = drawn.mean(axis=0), observed.mean(axis=0)
    centered, wanted = drawn - mean, observed - target
    power, cross = (centered**2).mean(axis=0), (centered * wanted).mean(axis=0)
    gain = np.clip(cross / np.maximum(power, 1.0), *GAINS)
    correlation = cross / np.sqrt(np.maximum(power * (wanted**2).mean(axis=0), 1.0))
    return wanted - centered * gain, gain, float(correlation.mean())


def _sample(stack: Floats, pixels: Array) -> Array:
    """Bilinear values (K, C) of a picture (H, W, C) at pixels (K, 2), at its border for those outside."""
    limits = np.array(stack.shape[1::-1]) - 1
    pixels = np.clip(pixels, 0, limits)
    corner = np.minimum(pixels.astype(np.int64), limits - 1)
    right, down = (pixels - corner).T[:, :, None].astype(np.float32)
    u, v = corner.T
    above = stack[v, u] * (1 - right) + stack[v, u + 1] * right
    below = stack[v + 1, u] * (1 - right) + stack[v + 1, u + 1] * right
    return np.asarray(above * (1 - down) + below * down, np.float64)
