"""The intensity of a lidar scan as a camera sees it: a grey image without gaps between the scan lines.

Points of a scan are close along its lines and far apart across them, and both distances grow with the range.
No footprint of one size closes the lines without blurring the rest. So the visible points are joined to
triangles in the image (Delaunay), over which intensity and inverse depth are interpolated. Long triangles and
those across a step in depth are left out. Views in which points are dense are rendered by `render_view`.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, QhullError

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.ops.render_view import RenderedView, pixel_means, render_view
from diff2i2p_core.typing import Array

DENSE = 0.15
"""If a larger fraction of the pixels has points, there are no lines to close."""
LONGEST = 0.05
"""Maximum side of a triangle, as a fraction of the image's width."""
STEP = 1.3
"""Maximum ratio of the depths of a triangle's corners."""
WINDOW, IN_FRONT = (9, 5), 0.85
"""Rows and columns around a point, and the ratio of depths, within which a nearer point hides it."""
BLUR = 0.8
"""Standard deviation in pixels of the final blur, which hides the edges of triangles."""


def render_scan(
    cloud: PointCloud,
    camera_from_cloud: Array,
    camera: Camera,
    spacing: float,
    *,
    min_depth: float,
    max_depth: float,
) -> RenderedView:
    """The view of a camera without distortion of a cloud with intensity; see `render_view`."""
    assert cloud.intensity is not None
    grey = PointCloud(cloud.points, intensity=cloud.intensity)
    pose = np.asarray(camera_from_cloud, np.float64)
    seen, pixel, z = seen_in_scan(grey.points, pose, camera, min_depth, max_depth)
    pixels = camera.width * camera.height
    filled, means = pixel_means(pixel, np.column_stack([1 / z, cloud.intensity[seen]]), pixels)
    triangles = _triangles(filled, camera.width) if 4 <= len(filled) <= DENSE * pixels else None
    if triangles is None:
        return render_view(grey, pose, camera, spacing, min_depth=min_depth, max_depth=max_depth)
    shown, values = _interpolated(triangles, means, camera)
    depth = np.zeros(pixels, np.float32)
    depth[shown] = 1 / values[:, 0]
    image = np.zeros(pixels, np.float32)
    image[shown] = values[:, 1]
    shape = camera.height, camera.width
    known = depth.reshape(shape) > 0
    picture = np.rint(_smoothed(image.reshape(shape), known)).clip(0, 255).astype(np.uint8)
    return RenderedView(picture, depth.reshape(shape), camera, pose)


def seen_in_scan(
    points: NDArray[np.float32], pose: Array, camera: Camera, min_depth: float, max_depth: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Indices of the points (N, 3) that the camera sees, their pixels (row by row) and depths.

    A point is hidden if one around it in the image is much nearer. The spacing of a scan would not do as
    footprint, because it is far too large near the lidar: it would hide most of a road.
    """
    matrix = pose.astype(np.float32)
    x, y, z = matrix[:3, :3] @ points.T + matrix[:3, 3:]
    ahead = np.flatnonzero((z > min_depth) & (z < max_depth))
    x, y, z = x[ahead], y[ahead], z[ahead]
    columns = np.floor(np.float32(camera.fx) * x / z + np.float32(camera.cx + 0.5))
    rows = np.floor(np.float32(camera.fy) * y / z + np.float32(camera.cy + 0.5))
    inside = np.flatnonzero((columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height))
    pixel = rows[inside].astype(np.int64) * camera.width + columns[inside].astype(np.int64)
    z = z[inside]
    nearest = np.zeros(camera.width * camera.height, np.float32)
    np.maximum.at(nearest, pixel, 1 / z)
    around = cv2.dilate(nearest.reshape(camera.height, camera.width), np.ones(WINDOW, np.uint8))
    front = np.flatnonzero(1 / z > IN_FRONT * np.asarray(around).reshape(-1)[pixel])
    return ahead[inside[front]], pixel[front], z[front]


def _triangles(filled: NDArray[np.int64], width: int) -> Delaunay | None:
    """The triangles of pixels (flat indices). None if all are on a line."""
    try:
        return Delaunay(np.stack([filled % width, filled // width], axis=1).astype(np.float64))
    except QhullError:
        return None


def _interpolated(
    triangles: Delaunay, means: NDArray[np.float32], camera: Camera
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The pixels (P,) inside of triangles of one surface, and their values (P, C) from those of the corners;
    the first value is the inverse depth."""
    corners = triangles.points[triangles.simplices]
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    inverse = means[triangles.simplices, 0]
    surface = (sides < LONGEST * camera.width) & (inverse.max(axis=1) < STEP * inverse.min(axis=1))
    v, u = np.divmod(np.arange(camera.width * camera.height), camera.width)
    at = np.stack([u, v], axis=1).astype(np.float64)
    triangle = triangles.find_simplex(at)
    shown = np.flatnonzero((triangle >= 0) & surface[triangle])
    triangle = triangle[shown]
    affine = triangles.transform[triangle]
    weights = np.einsum("nij,nj->ni", affine[:, :2], at[shown] - affine[:, 2])
    weights = np.concatenate([weights, 1 - weights.sum(axis=1, keepdims=True)], axis=1)
    values = (weights[..., None] * means[triangles.simplices[triangle]]).sum(axis=1)
    return shown, values.astype(np.float32)


def _smoothed(image: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The image with its known pixels blurred among themselves, and the others continued from them."""
    weight = cv2.GaussianBlur(known.astype(np.float32), (0, 0), BLUR)
    blurred = cv2.GaussianBlur(image, (0, 0), BLUR) / np.maximum(weight, 1e-6)
    wide = (image.shape[1] // 16 | 1,) * 2
    share = cv2.blur(known.astype(np.float32), wide)
    mean = float(image[known].mean()) if known.any() else 0.0
    around = (cv2.blur(image, wide) + 1e-3 * mean) / (share + 1e-3)
    return np.asarray(np.where(known, blurred, around), np.float32)
