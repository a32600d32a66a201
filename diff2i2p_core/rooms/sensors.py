"""Simulates depth sensors on the exact depth of a synthetic room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera

Sensor = Literal["kinect", "lidar"]

LIDAR_LINES_DEG = 0.7
"""Angle between scan lines: 64 over 45 degrees."""
LIDAR_NOISE = 0.025
"""Standard deviation of a range in metres, whatever the distance."""


def kinect_noise(depth: NDArray[np.float32], camera: Camera, rng: np.random.Generator) -> NDArray[np.float32]:
    """Depth (H, W) as measured by a structured-light sensor: noise and steps that grow with the square of the
    distance (3 mm steps at 1 m), jagged edges with holes, nothing nearer than 0.45 m."""
    rows, columns = depth.shape
    v, u = np.indices(depth.shape)
    jitter = rng.normal(0, 0.5, (2, rows, columns))
    source = np.clip(np.rint(v + jitter[0]), 0, rows - 1), np.clip(np.rint(u + jitter[1]), 0, columns - 1)
    noisy = depth[source[0].astype(int), source[1].astype(int)]
    noisy = noisy + rng.normal(0, 1, depth.shape) * (0.0012 + 0.0019 * np.square(noisy - 0.4))
    with np.errstate(divide="ignore"):
        disparity = np.where(noisy > 0, 580 * 0.075 * 8 / noisy, 0)
    stepped = np.where(disparity > 0, 580 * 0.075 * 8 / np.maximum(np.rint(disparity), 1), 0)
    kernel = np.ones((3, 3), np.uint8)
    jump = cv2.dilate(depth, kernel) - cv2.erode(depth, kernel) > 0.08 + 0.03 * depth
    lost = (depth < 0.45) | (jump & (rng.random(depth.shape) < 0.6))
    return np.where(lost, 0, stepped).astype(np.float32)


def lidar_noise(depth: NDArray[np.float32], camera: Camera, rng: np.random.Generator) -> NDArray[np.float32]:
    """Depth (H, W) from a spinning lidar at the camera's position: known only on its scan lines, with
    constant range noise, a twentieth of the returns lost, nothing nearer than 0.5 m."""
    x = (np.arange(camera.width) - camera.cx) / camera.fx
    y = ((np.arange(camera.height) - camera.cy) / camera.fy)[:, None]
    # Elevation is in scan lines. A pixel is on a line if neither pixel above or below is nearer to it.
    lines = np.degrees(np.arctan(y / np.sqrt(1 + x**2))) / LIDAR_LINES_DEG
    half_pixel = np.abs(np.gradient(lines, axis=0)) / 2
    on_line = np.abs(lines - np.rint(lines)) <= half_pixel
    stretch = np.sqrt(1 + x**2 + y**2)
    measured = depth + rng.normal(0, LIDAR_NOISE, depth.shape) / stretch
    returned = on_line & (depth * stretch > 0.5) & (rng.random(depth.shape) > 0.05)
    return np.where(returned, measured, 0).astype(np.float32)


SENSORS: dict[Sensor, Callable[[NDArray[np.float32], Camera, np.random.Generator], NDArray[np.float32]]] = {
    "kinect": kinect_noise,
    "lidar": lidar_noise,
}
