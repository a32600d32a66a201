"""A coloured cloud as a camera sees it: an image for local features and its depth, in milliseconds on a CPU.

Points in front of the surface's depth in a coarse z-buffer are seen. Those that fall into one pixel are
averaged; every other pixel takes the colour and depth of the nearest pixel that has a point. That keeps the
cloud's detail: splatted with squares, or smoothed, the same clouds gave fewer matches with photographs.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import invert, transform_points
from diff2i2p_core.geometry.submaps import front_limit
from diff2i2p_core.typing import Array

BUFFER_LONG_SIDE = 160
"""Pixels of the coarse z-buffer."""
REACH = 1.6
"""A point is seen as far as this many times its spacing from it, so holes of three spacings are filled."""


@dataclass(frozen=True)
class RenderedView:
    image: NDArray[np.uint8]
    """(H, W, 3) RGB, or (H, W) of a cloud with intensity alone. Where the cloud shows nothing, colours go on
    from the nearest surface, blurred: an edge of the map is no edge of the scene."""
    depth: NDArray[np.float32]
    """(H, W) metres along the optical axis, 0 where the cloud shows nothing."""
    camera: Camera
    camera_from_cloud: Array

    def points_at(self, pixels: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
        """Points (N, 3) of the cloud's frame at pixels (N, 2), (u, v), and which of them show the cloud."""
        uv = np.asarray(pixels, np.float64)
        columns, rows = np.rint(uv).astype(np.int64).T
        inside = self.camera.contains(uv, np.ones(len(uv)))
        z = np.where(inside, self.depth[np.where(inside, rows, 0), np.where(inside, columns, 0)], 0.0)
        x = (uv[:, 0] - self.camera.cx) / self.camera.fx * z
        y = (uv[:, 1] - self.camera.cy) / self.camera.fy * z
        return transform_points(invert(self.camera_from_cloud), np.stack([x, y, z], axis=1)), z > 0


def render_view(
    cloud: PointCloud,
    camera_from_cloud: ArrayLike,
    camera: Camera,
    spacing: float,
    *,
    min_depth: float = 0.1,
    max_depth: float = 10.0,
) -> RenderedView:
    """What a camera without distortion sees of a cloud whose points are `spacing` metres apart.

    Depths in metres. InputError for a cloud with neither colours nor intensity.
    """
    shades = cloud.colors if cloud.colors is not None else cloud.intensity
    if shades is None:
        raise InputError("cloud: has neither colours nor intensity to render; give one that has")
    pose = np.asarray(camera_from_cloud, np.float64)
    seen, pixel, z = _seen(cloud.points, pose, camera, spacing, min_depth, max_depth)
    shape = camera.height, camera.width
    if not len(seen):
        empty = np.zeros((*shape, *shades.shape[1:]), np.uint8)
        return RenderedView(empty, np.zeros(shape, np.float32), camera, pose)
    filled, means = _pixel_means(pixel, np.column_stack([1 / z, shades[seen]]))
    nearest, distance = _nearest(filled, shape)
    inverse_depth = means[:, 0].take(nearest)
    shown = distance <= np.maximum(REACH * spacing * camera.fx * inverse_depth, 1)
    image = means[:, 1:].round().astype(np.uint8).reshape(-1, *shades.shape[1:]).take(nearest, axis=0)
    image = cv2.medianBlur(image, 3)  # single points of a surface a little behind show between others
    background = cv2.blur(image, (camera.width // 16 | 1,) * 2)
    image = np.asarray(cv2.copyTo(image, shown.astype(np.uint8), background), np.uint8)
    return RenderedView(image, np.where(shown, 1 / inverse_depth, np.float32(0)), camera, pose)


def _seen(
    points: NDArray[np.float32],
    pose: Array,
    camera: Camera,
    spacing: float,
    min_depth: float,
    max_depth: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Indices of the points that the camera sees, their pixels (row by row) and depths."""
    matrix = pose.astype(np.float32)
    x, y, z = matrix[:3, :3] @ points.T + matrix[:3, 3:]
    ahead = np.flatnonzero((z > min_depth) & (z < max_depth))
    x, y, z = x[ahead], y[ahead], z[ahead]
    u = np.float32(camera.fx) * x / z + np.float32(camera.cx + 0.5)
    v = np.float32(camera.fy) * y / z + np.float32(camera.cy + 0.5)
    inside = np.flatnonzero((u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height))
    columns, rows, z = u[inside].astype(np.int64), v[inside].astype(np.int64), z[inside]
    step = max(1, round(max(camera.width, camera.height) / BUFFER_LONG_SIDE))
    coarse = columns // step, rows // step
    shape = -(-camera.height // step), -(-camera.width // step)
    footprint_at_1m = 0.5 * spacing * max(camera.fx, camera.fy) / step
    limit = front_limit(z, *coarse, shape, footprint_at_1m, spacing, closed=True)
    front = np.flatnonzero(z <= limit[coarse[1], coarse[0]])
    return ahead[inside[front]], (rows * camera.width + columns)[front], z[front]


def _pixel_means(
    pixel: NDArray[np.int64], rows: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The pixels that occur, ascending, and the mean of their rows (N, C)."""
    filled, index, count = np.unique(pixel, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(filled), rows.shape[1]).index_add_(
        0, torch.from_numpy(index), torch.from_numpy(rows)
    )
    return filled, np.asarray(sums.numpy() / count[:, None], np.float32)


def _nearest(
    filled: NDArray[np.int64], shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each pixel (H, W), which of the `filled` ones is nearest, and how far that is in pixels."""
    empty = np.ones(shape, np.uint8)
    empty.flat[filled] = 0
    distance, labels = cv2.distanceTransformWithLabels(
        empty, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    label = np.asarray(labels, np.int32)
    of_label = np.zeros(len(filled) + 1, np.int64)
    of_label[label.flat[filled]] = np.arange(len(filled))
    return of_label.take(label), np.asarray(distance, np.float32)
