"""By how many pixels patches of a lidar's points are beside where an image shows them.

A lidar measures how much of its own infrared light comes back. So what is bright for a camera may be dark
for it, as a car, or the other way round, as foliage; but edges are at the same places. In each patch of the
image, the grey values at the points' pixels are compared with their intensities by the squared correlation,
whatever its sign, for all shifts of a few pixels. The best shift tells where the points should be. How fast
the correlation falls around it tells in which directions that is known: a lane mark fixes only one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import invert, transform_points
from diff2i2p_core.typing import Array

NOISE, IMAGE_NOISE = 5.0, 3.0
"""Standard deviations, of 255. Patches of intensities or grey values with less say little."""
MIN_CONTRAST = 8.0
"""Minimum standard deviation, of 255, of a patch's intensities."""
PATCH_POINTS, MIN_POINTS = 60, 24
"""Points that a patch should have, and must have."""
PATCH_DEG = (3.3, 7.4)
"""Limits of a patch's side. Smaller ones match by chance; larger ones contain several objects."""
MIN_SIMILARITY = 0.2
"""Minimum squared correlation of a patch that counts."""
_OCCUPIED = 16
"""Side in pixels of the squares that measure how much of an image has points."""


@dataclass(frozen=True)
class GreyPicture:
    """A blurred grey image (H, W) of a camera without distortion."""

    grey: NDArray[np.float32]
    camera: Camera


@dataclass(frozen=True)
class PatchShifts:
    """For K patches. Pixels are those of the picture."""

    points: Array
    """(K, 3) in the map frame: the middle of each patch's points."""
    shifts: Array
    """(K, 2) from where the points are to where the image shows them."""
    information: Array
    """(K, 2, 2): inverse covariance of the shifts, if points were independent."""
    settled: NDArray[np.bool_]
    """(K,): whether the best shift is not at the limit of the search."""


def patch_shifts(
    picture: GreyPicture, points: Array, intensity: Array, map_from_camera: Array, reach: int, step: int
) -> PatchShifts:
    """The shifts, of up to `reach` steps of `step` pixels, of patches of points (N, 3) of the map with
    intensities (N,), all of which are visible from the pose."""
    camera = picture.camera
    in_camera = transform_points(invert(map_from_camera), points)
    pixels, depth = camera.project(in_camera)
    inside = (pixels > 0).all(axis=1) & (pixels < [camera.width - 1, camera.height - 1]).all(axis=1)
    pixels, depth, intensity = pixels[inside], depth[inside], intensity[inside]
    sums = _patch_sums(pixels, camera)
    count = sums(np.ones(len(pixels)))
    most = np.maximum(count, 1)
    contrast = intensity - intensity.mean() if len(intensity) else intensity
    total = sums(contrast)
    power = sums(contrast**2) - total**2 / most
    used = (count >= MIN_POINTS) & (power > count * MIN_CONTRAST**2)
    size = 2 * reach + 1
    similarity = np.zeros((int(used.sum()), size, size))
    u, v = np.ascontiguousarray(pixels.T, np.float32)
    mean = float(picture.grey.mean())
    for row in range(size):
        for column in range(size):
            at = u + np.float32((column - reach) * step), v + np.float32((row - reach) * step)
            shade = _sampled(picture.grey, *at) - mean
            of_shade = sums(shade)[used]
            cross = sums(shade * contrast)[used] - of_shade * (total / most)[used]
            spread = sums(shade**2)[used] - of_shade**2 / most[used]
            noisy = (spread + count[used] * IMAGE_NOISE**2) * (power + count * NOISE**2)[used]
            similarity[:, row, column] = cross**2 / noisy
    middle = np.stack([sums(x)[used] / count[used] for x in (*pixels.T, 1 / depth)], axis=1)
    points = transform_points(map_from_camera, camera.unproject(middle[:, :2], 1 / middle[:, 2]))
    return _best(similarity, count[used], points, step)


def _patch_sums(pixels: Array, camera: Camera) -> Callable[[Array], Array]:
    """A function that sums values (N,) at pixels (N, 2) over patches, each of which overlaps its neighbours
    by half: patches are blocks of 2 x 2 cells."""
    filled = len(np.unique((pixels // _OCCUPIED) @ [1, camera.width])) * _OCCUPIED**2
    degree = math.radians(1) * camera.fx
    side = math.sqrt(PATCH_POINTS * filled / max(len(pixels), 1))
    cell = float(np.clip(side, PATCH_DEG[0] * degree, PATCH_DEG[1] * degree)) / 2
    columns, rows = math.ceil(camera.width / cell) + 1, math.ceil(camera.height / cell) + 1
    column, row = (pixels // cell).astype(np.int64).T
    cells = row * columns + column

    def sums(values: Array) -> Array:
        each = np.bincount(cells, values, rows * columns).reshape(rows, columns)
        return np.asarray((each[1:, 1:] + each[1:, :-1] + each[:-1, 1:] + each[:-1, :-1]).ravel())

    return sums


def _sampled(grey: NDArray[np.float32], u: NDArray[np.float32], v: NDArray[np.float32]) -> Array:
    """Bilinear grey values (N,). OpenCV takes at most 32,767 in a row."""
    if not len(u):
        return np.zeros(0)
    rows = -(-len(u) // 32000)
    across, down = (np.resize(x, (rows, -(-len(u) // rows))) for x in (u, v))
    values = cv2.remap(grey, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(values, np.float64).ravel()[: len(u)]


def _best(similarity: Array, count: Array, points: Array, step: int) -> PatchShifts:
    """The best shifts from the similarity (K, S, S) at all of them, by a parabola around the maximum of the
    likelihood of correlated normal variables."""
    patches, size, _ = similarity.shape
    row, column = np.divmod(similarity.reshape(patches, size * size).argmax(axis=1), size)
    likely = similarity[np.arange(patches), row, column] > MIN_SIMILARITY
    row, column, count, points = row[likely], column[likely], count[likely], points[likely]
    inner_row, inner_column = row.clip(1, size - 2), column.clip(1, size - 2)
    around = np.arange(-1, 2)
    rows = inner_row[:, None, None] + around[:, None]
    columns = inner_column[:, None, None] + around
    near = similarity[likely][np.arange(len(row))[:, None, None], rows, columns]
    height = -0.5 * count[:, None, None] * np.log1p(-near.clip(0, 0.98))
    middle = height[:, 1, 1]
    uu = 2 * middle - height[:, 1, 2] - height[:, 1, 0]
    vv = 2 * middle - height[:, 2, 1] - height[:, 0, 1]
    uv = (height[:, 2, 0] + height[:, 0, 2] - height[:, 2, 2] - height[:, 0, 0]) / 4
    values, vectors = np.linalg.eigh(np.stack([uu, uv, uv, vv], axis=1).reshape(-1, 2, 2))
    values = np.maximum(values, 1e-3)
    slope = np.stack([height[:, 1, 2] - height[:, 1, 0], height[:, 2, 1] - height[:, 0, 1]], axis=1) / 2
    ahead = np.einsum("kij,kj,klj,kl->ki", vectors, 1 / values, vectors, slope).clip(-0.7, 0.7)
    return PatchShifts(
        points,
        (np.stack([inner_column, inner_row], axis=1) - size // 2 + ahead) * step,
        np.einsum("kij,kj,klj->kil", vectors, values, vectors) / step**2,
        (row == inner_row) & (column == inner_column),
    )
