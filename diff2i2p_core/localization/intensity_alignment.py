"""Aligns a pose until an image agrees with the intensity of a lidar's points, and says how well they agree.

A lidar measures how much of its own infrared light comes back. So what is bright for a camera may be dark
for it, as a car, or the other way round, as foliage. But edges are at the same places. Within each cell of
the image, the grey values at the points' pixels are compared with their intensities by the squared
correlation, whatever its sign. Its mean over the cells is largest at the right pose. It is maximized from
coarse to fine by Powell's method (Computer Journal 1964).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.covariance import perturb
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import invert, is_near, transform_points
from diff2i2p_core.ops.render_scan import seen_in_scan
from diff2i2p_core.typing import Array, Image

BLURS = (4.0, 2.0, 1.0)
"""Standard deviations in pixels of the image's blur, one after the other. A wide one widens the basin."""
CELLS = (12, 8)
"""Columns and rows."""
NOISE, IMAGE_NOISE = 5.0, 3.0
"""Standard deviations, of 255. Cells of intensities or grey values with less say little."""
PATCH = 8
"""Pixels. All points in a square of this side count as much as one."""
UNITS = np.array([0.1, 0.1, 0.1, 0.004, 0.004, 0.004])
"""Metres and radians of the first steps."""
SHIFTS = np.array(
    [[0, 0, 0, 0, 0, 0], [2, -1, 2, 1, 2, -1], [-2, 1, 2, -1, -1, 2], [-1, 2, -2, 2, -2, 1]], np.float64
)
"""Of the starts, in `UNITS`."""
AGREEING = 2
SAME_METRES, SAME_DEG = 0.12, 0.25
"""Ends of alignments that are nearer are the same pose."""
EVALUATIONS = 400
"""Maximum number of poses that are compared, for each blur."""
MIN_POINTS = 300
_DIFFERENCE = 0.5
"""Of `UNITS`, for the second derivatives."""


_End = tuple[float, Array, Callable[[Array], float]]
"""The disagreement where a search ended, the pose there, and the disagreement as a function of poses."""


@dataclass(frozen=True)
class IntensityAlignment:
    map_from_camera: Array
    agreement: float
    """0 to 1: square root of the mean squared correlation of grey values and intensities in the cells."""
    covariance: Array
    """(6, 6), ROS order."""


def align_intensity(
    image: Image,
    camera: Camera,
    cloud: PointCloud,
    start: Array,
    depths: tuple[float, float],
) -> IntensityAlignment | None:
    """The pose near `start` (map_from_camera) at which an image (H, W, 3) RGB agrees best with a cloud with
    intensity, of which points between two depths are used.

    It is found from several starts around that one. None if too few points are visible, or if fewer than
    `AGREEING` of them, the best one included, end at the same pose.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    pictures = [np.asarray(cv2.GaussianBlur(grey, (0, 0), blur), np.float32) for blur in BLURS]
    ends: list[_End] = []
    for shift in SHIFTS:
        pose = perturb(np.asarray(start, np.float64), shift * UNITS)
        end = None
        for picture in pictures:
            end = _climbed(_disagreement(picture, camera, cloud, pose, depths), pose)
            if end is None:
                return None
            pose = end[1]
        if end is not None:
            ends.append(end)
    disagreement, best, of_best = min(ends, key=lambda end: end[0])
    if sum(is_near(other, best, SAME_METRES, SAME_DEG) for _, other, _ in ends) < AGREEING:
        return None
    values, vectors = np.linalg.eigh(_curvature(partial(_after_step, of_best, best)))
    if values[0] <= 0:  # not at a maximum of the agreement
        return None
    # A mean of squared correlations over C cells changes by about 1 / C by chance.
    inverse = (vectors / values) @ vectors.T * 2 / (CELLS[0] * CELLS[1])
    return IntensityAlignment(best, math.sqrt(max(-disagreement, 0.0)), inverse * np.outer(UNITS, UNITS))


def _climbed(of_pose: Callable[[Array], float] | None, pose: Array) -> _End | None:
    """Where Powell's method ends from a pose."""
    if of_pose is None:
        return None
    options = {"maxfev": EVALUATIONS, "xtol": 0.03, "ftol": 1e-5}
    steps = minimize(partial(_after_step, of_pose, pose), np.zeros(6), method="Powell", options=options)
    end = perturb(pose, steps.x * UNITS)
    return of_pose(end), end, of_pose


def _after_step(of_pose: Callable[[Array], float], pose: Array, step: Array) -> float:
    """The disagreement after a step (6,) in `UNITS` from a pose."""
    return of_pose(perturb(pose, step * UNITS))


def _disagreement(
    image: NDArray[np.float32],
    camera: Camera,
    cloud: PointCloud,
    pose: Array,
    depths: tuple[float, float],
) -> Callable[[Array], float] | None:
    """The negative mean squared correlation as a function of map_from_camera, for the points that are visible
    from `pose`, in the cells in which they are from there. None if they are too few."""
    assert cloud.intensity is not None
    seen, pixel, _ = seen_in_scan(cloud.points, invert(pose), camera, *depths)
    if len(seen) < MIN_POINTS:
        return None
    points, intensity = cloud.points[seen].astype(np.float64), cloud.intensity[seen].astype(np.float64)
    row, column = np.divmod(pixel, camera.width)
    patch = (row // PATCH) * (camera.width // PATCH + 1) + column // PATCH
    weight = 1 / np.bincount(patch)[patch]
    cell = (row * CELLS[1] // camera.height) * CELLS[0] + column * CELLS[0] // camera.width

    def sums(values: Array) -> Array:
        return np.asarray(np.bincount(cell, weight * values, CELLS[0] * CELLS[1]), np.float64)

    total = np.maximum(sums(np.ones(len(seen))), 1e-9)
    contrast = intensity - (sums(intensity) / total)[cell]
    power = sums(contrast**2) + total * NOISE**2

    def of_pose(map_from_camera: Array) -> float:
        pixels, z = camera.project(transform_points(invert(map_from_camera), points))
        pixels[z <= 0] = -1e4
        u, v = pixels.astype(np.float32).T[:, None]
        sampled = np.asarray(cv2.remap(image, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))[0]
        shade = sampled - (sums(sampled) / total)[cell]
        squared = sums(shade * contrast) ** 2 / (power * (sums(shade**2) + total * IMAGE_NOISE**2))
        return -float((squared * total).sum() / total.sum())

    return of_pose


def _curvature(function: Callable[[Array], float]) -> Array:
    """(6, 6) second derivatives at zero."""
    steps = np.eye(6) * _DIFFERENCE
    middle = function(np.zeros(6))
    hessian = np.zeros((6, 6))
    for i in range(6):
        hessian[i, i] = function(steps[i]) + function(-steps[i]) - 2 * middle
        for j in range(i):
            mixed = function(steps[i] + steps[j]) + function(-steps[i] - steps[j])
            mixed -= function(steps[i] - steps[j]) + function(steps[j] - steps[i])
            hessian[i, j] = hessian[j, i] = mixed / 4
    return np.asarray(hessian / _DIFFERENCE**2, np.float64)
