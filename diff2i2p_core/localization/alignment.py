"""Photometric alignment: a pose is moved until the coloured map, drawn into the image, looks like the image.

The method is direct and coarse to fine, as in dense visual odometry (Steinbruecker et al., ICCVW 2011; Kerl
et al., ICRA 2013). At each level of an image pyramid, the map's visible points are drawn with their depth,
and Gauss-Newton steps align the drawn colours with those of the image. Gain and offset of each colour channel
are free in each cell of a grid, so the lighting of map and image may differ: exposure, white balance, lamps,
shadows. The final agreement within the cells distinguishes right from wrong poses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.covariance import perturb, reprojection
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import invert, is_near, rigid, transform_points
from diff2i2p_core.geometry.submaps import visible_points
from diff2i2p_core.models.inputs import resized
from diff2i2p_core.typing import Array

LEVELS = (40, 80, 160)
"""Widths of the images of the pyramid."""
CELLS = ((1, 1), (4, 3), (8, 6))
"""Columns and rows of each level's grid. Small cells lose more of what distinguishes places."""
DRAWINGS, STEPS = (2, 2, 4), 8
"""Maximum number of drawings per level, and of Gauss-Newton steps per drawing."""
ENOUGH = 0.01
"""In pixels of the level. A step that moves less is the last."""
BLUR = 1.0
"""Standard deviation of the blur of both pictures, in pixels of the level. It widens the basin."""
RESTS_METRES, RESTS_DEG = 0.0005, 0.015
"""A drawing that moves the pose by less is the last of its level."""
MAX_SAMPLES = 10000
"""Maximum number of pixels compared at a level."""
MIN_SAMPLES = 150
GAINS = (0.1, 10.0)
"""Limits of the ratio between the contrast of map and image."""
NOISE = 5.0
"""Standard deviation, of 255. A cell with less gets the gain of the picture, and a low agreement."""
AGREEING = 0.8
"""Fraction of the pixels, those in the best cells, that count. The others may be occluded or changed."""
HOPELESS = 0.3
"""If the agreement at any level is below this, alignment stops."""
MAX_DEPTH = 6.0
"""Metres. Points farther away are not drawn."""

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Alignment:
    map_from_camera: Array
    covariance: Array
    """(6, 6), ROS order. It assumes independent errors of the pixels."""
    agreement: float
    """Correlation of the colours of map and image within the cells that agree best, averaged over the three
    channels."""
    coverage: float
    """Fraction of the image's pixels that were compared."""


@dataclass(frozen=True)
class _Level:
    camera: Camera
    grid: tuple[int, int]
    colors: torch.Tensor
    """(3, H, W)."""

    @property
    def limits(self) -> NDArray[np.int64]:
        """The largest column and row."""
        return np.array([self.camera.width, self.camera.height]) - 1

    def sample(self, pixels: Array) -> Floats:
        """Bilinear colours (3, K) at pixels (K, 2). Pixels outside get the colour of the border."""
        grid = torch.from_numpy((pixels * (2 / self.limits) - 1).astype(np.float32))
        colors = F.grid_sample(self.colors[None], grid[None, None], padding_mode="border", align_corners=True)
        return np.asarray(colors[0, :, 0].numpy())


class _Cells:
    """Sums over cells, for pixels sorted by cell."""

    def __init__(self, of_pixels: NDArray[np.int64]) -> None:
        """`of_pixels`: the cell (K,) of each pixel, ascending. Cells without pixels are left out."""
        new = np.diff(of_pixels, prepend=-1) > 0
        self._first, self._of = np.flatnonzero(new), np.cumsum(new) - 1

    def sums(self, values: Floats) -> Floats:
        """(..., K) to (..., C)."""
        return np.add.reduceat(values, self._first, axis=-1)

    def spread(self, values: Floats) -> Floats:
        """(..., C) to (..., K)."""
        return np.asarray(values[..., self._of])


class _Drawing(NamedTuple):
    colors: Floats
    """(3, K)."""
    by_u: Floats
    """(3, K) derivatives of the colours."""
    by_v: Floats
    cells: _Cells
    points: Array
    """(K, 3) map frame."""
    fraction: float
    """Fraction of the image that was drawn."""


class PhotometricTarget:
    """An image (H, W, 3) RGB of a camera without distortion, to align maps to."""

    def __init__(self, image: NDArray[np.uint8], camera: Camera) -> None:
        self._levels = [_level(image, camera, *size) for size in zip(LEVELS, CELLS, strict=True)]

    def align(
        self,
        start: Array,
        cloud: PointCloud,
        spacing: float,
        *,
        max_metres: float = 0.8,
        max_deg: float = 25.0,
    ) -> Alignment | None:
        """Move the pose `start` (map_from_camera) until the map's coloured cloud matches the image.

        `spacing` is in metres between its points. None if too little of the map is visible, it has no
        contrast, the colours do not match at all, or the pose moves farther than the limits.
        """
        assert cloud.colors is not None
        pose, result = np.array(start), None
        for level, drawings in zip(self._levels, DRAWINGS, strict=True):
            for _ in range(drawings):
                seen = visible_points(
                    cloud.points, invert(pose), level.camera, max_depth=MAX_DEPTH, spacing=spacing
                )
                result = _fit(level, pose, cloud.points[seen], cloud.colors[seen])
                if result is None or result.agreement < HOPELESS:
                    return None
                before, pose = pose, result.map_from_camera
                if not is_near(pose, start, max_metres, max_deg):
                    return None
                if is_near(pose, before, RESTS_METRES, RESTS_DEG):
                    break
        return result


def _level(image: NDArray[np.uint8], camera: Camera, width: int, grid: tuple[int, int]) -> _Level:
    small = camera.scaled_to(width, max(1, round(camera.height * width / camera.width)))
    colors = resized(image, small).astype(np.float32)
    blurred = torch.from_numpy(cv2.GaussianBlur(colors, (0, 0), BLUR))
    return _Level(small, grid, blurred.permute(2, 0, 1).contiguous())


def _fit(level: _Level, start: Array, points: Floats, colors: NDArray[np.uint8]) -> Alignment | None:
    """Draw the visible points from `start`, then take steps that all use the derivatives of this drawing.

    Inverse compositional (Baker and Matthews, IJCV 2004): the drawing is moved towards the image, and the
    pose in the opposite direction.
    """
    drawing = _draw(level, start, points, colors)
    count = len(drawing.points)
    if count < MIN_SAMPLES:
        return None
    pixels, _, jacobian = reprojection(start, drawing.points, level.camera)
    residual, gain, _ = _misfit(drawing, level.sample(pixels), np.ones(count, np.float32))
    squared = (residual * residual).sum(axis=0)
    weight = 1 / (1 + squared / (2.25 * np.median(squared) + 1e-6))
    by_u, by_v = drawing.by_u * gain, drawing.by_v * gain
    along_u, along_v = (np.ascontiguousarray(jacobian[:, axis]) for axis in (0, 1))
    # The structure tensor of the colours at each pixel weights the pixel's motion.
    across = (weight * (by_u * by_v).sum(axis=0))[:, None]
    hessian = along_u.T @ ((weight * (by_u * by_u).sum(axis=0))[:, None] * along_u + across * along_v)
    hessian += along_v.T @ ((weight * (by_v * by_v).sum(axis=0))[:, None] * along_v + across * along_u)
    if np.linalg.eigvalsh(hessian)[0] <= 1e-9 * np.trace(hessian):
        return None
    pose = start
    for _ in range(STEPS):
        pull = (weight * (by_u * residual).sum(axis=0)) @ along_u
        pull += (weight * (by_v * residual).sum(axis=0)) @ along_v
        step = np.linalg.solve(hessian, pull)
        # Made rigid again, because rounding errors grow threefold with each product.
        pose = rigid(start @ invert(perturb(start, step)) @ pose)
        pixels, z = level.camera.project(transform_points(invert(pose), drawing.points))
        u, v = pixels.T
        inside = (z > 0.1) & (u >= 0) & (v >= 0) & (u <= level.limits[0]) & (v <= level.limits[1])
        if np.count_nonzero(inside) < MIN_SAMPLES:
            return None
        used = inside.astype(np.float32)
        residual, _, correlation = _misfit(drawing, level.sample(pixels), used)
        if np.abs(along_u @ step).mean() + np.abs(along_v @ step).mean() < 2 * ENOUGH:
            break
    variance = float(weight @ (residual * residual).sum(axis=0) / (3 * weight[inside].sum()))
    covariance = np.linalg.inv(hessian) * variance
    best = np.sort(correlation[inside])[-math.ceil(AGREEING * np.count_nonzero(inside)) :]
    agreement = float(best.mean())
    return Alignment(pose, covariance, agreement, drawing.fraction * float(inside.mean()))


def _draw(level: _Level, pose: Array, points: Floats, colors: NDArray[np.uint8]) -> _Drawing:
    """The blurred picture of the map from a pose, at an even selection of the drawn pixels."""
    camera, (columns, rows) = level.camera, level.grid
    width, height = camera.width, camera.height
    pixels, z = camera.project(transform_points(invert(pose), points))
    sums = np.zeros((5, height * width))
    corner = np.floor(pixels).astype(np.int64)
    for du, dv in ((0, 0), (1, 0), (0, 1), (1, 1)):
        u, v = corner[:, 0] + du, corner[:, 1] + dv
        weight = (1 - np.abs(pixels[:, 0] - u)) * (1 - np.abs(pixels[:, 1] - v))
        weight[(u < 0) | (u >= width) | (v < 0) | (v >= height)] = 0
        cell = v.clip(0, height - 1) * width + u.clip(0, width - 1)
        for row, value in zip(sums, (1.0, z, *colors.T), strict=True):
            row += np.bincount(cell, weight * value, height * width)
    image = np.ascontiguousarray(sums.T.reshape(height, width, 5), np.float32)
    blurred = np.asarray(cv2.GaussianBlur(image, (0, 0), BLUR))
    picture = blurred / np.maximum(blurred[..., :1], 1e-6)
    known = cv2.erode((blurred[..., 0] > 1e-3).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    known &= image[..., 0] > 1e-3
    # Select fixed diagonals, independent of the pose: a varying selection would only add noise.
    v, u = np.nonzero(known)
    sampled = (u + v) % -(-known.size // MAX_SAMPLES) == 0
    v, u = v[sampled], u[sampled]
    cell = (v * rows // height) * columns + u * columns // width
    order = np.argsort(cell, kind="stable")
    v, u, cell = v[order], u[order], cell[order]
    indices = v * width + u

    def at_indices(image: NDArray[Any]) -> Floats:
        return np.ascontiguousarray(image.reshape(height * width, -1)[indices].T)

    by_u, by_v = (
        at_indices(cv2.Sobel(picture[..., 2:], cv2.CV_32F, *axes, ksize=3, scale=1 / 8))
        for axes in ((1, 0), (0, 1))
    )
    at = at_indices(picture)
    depth = at[1].astype(np.float64)
    in_camera = camera.unproject(np.stack([u, v], axis=1), depth)
    return _Drawing(
        colors=at[2:],
        by_u=by_u,
        by_v=by_v,
        cells=_Cells(cell),
        points=transform_points(pose, in_camera),
        fraction=float(known.mean()),
    )


def _misfit(drawing: _Drawing, observed: Floats, used: Floats) -> tuple[Floats, Floats, Floats]:
    """The residual (3, K) of observed minus drawn colours with the best gain and offset per channel and cell,
    the gain (3, K), and the correlation (K,) of both in each pixel's cell. Only pixels with `used` (K,) of 1
    count."""
    cells = drawing.cells
    count = np.maximum(cells.sums(used), 1.0)
    drawn, wanted = (
        used * (x - cells.spread(cells.sums(used * x) / count)) for x in (drawing.colors, observed)
    )
    power, cross, target = (cells.sums(x * y) for x, y in ((drawn, drawn), (drawn, wanted), (wanted, wanted)))
    overall = np.clip(cross.sum(axis=1) / np.maximum(power.sum(axis=1), 1.0), *GAINS)[:, None]
    noise = count * np.float32(NOISE**2)
    gain = cells.spread(np.clip((cross + noise * overall) / (power + noise), *GAINS))
    correlation = cross / np.sqrt((power + noise) * (target + noise * np.minimum(overall, 1) ** 2))
    return wanted - drawn * gain, gain, cells.spread(correlation.mean(axis=0))
