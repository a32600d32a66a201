"""Pictures that show whether a pose is right: the map drawn into the image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import invert, transform_points
from diff2i2p_core.geometry.submaps import visible_points
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.typing import Image

FONT = cv2.FONT_HERSHEY_SIMPLEX
BACKGROUND = (28, 28, 32)
MAX_DEPTH = 8.0
PANEL_WIDTH = 480
"""Maximum width in pixels of one picture in a row of several."""
LIVE_WIDTH = 640
"""Maximum width in pixels of the picture of a live result: drawing it must not delay the next image."""
SPACING = 7
"""Pixels between the drawn points, so that the image is visible between them."""


def visible_pixels(
    points: NDArray[np.float32], camera: Camera, map_from_camera: ArrayLike, spacing: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Map points (N, 3) seen by the camera, farthest first: indices, pixels (K, 2), depths (K,)."""
    camera_from_map = invert(map_from_camera)
    seen = visible_points(points, camera_from_map, camera, max_depth=MAX_DEPTH, spacing=spacing, margin=0.0)
    pixels, depth = camera.project(transform_points(camera_from_map, points[seen]))
    order = np.argsort(-depth)
    return seen[order], pixels[order], depth[order]


def draw_points(
    canvas: Image, pixels: NDArray[np.float64], radius: NDArray[np.float64], colors: NDArray[np.uint8]
) -> None:
    """Draw filled discs into an RGB image, in the given order."""
    for (u, v), r, color in zip(np.rint(pixels).astype(int), radius, colors, strict=True):
        cv2.circle(canvas, (int(u), int(v)), max(1, round(float(r))), color.tolist(), -1)


def depth_colors(depth: NDArray[np.float64], near: float, far: float) -> NDArray[np.uint8]:
    """(N,) depths to RGB (N, 3): red near, blue far."""
    level = 1 - np.clip((depth - near) / max(far - near, 0.5), 0, 1)
    mapped = cv2.applyColorMap(np.rint(level * 255).astype(np.uint8)[:, None], cv2.COLORMAP_TURBO)
    return np.asarray(mapped[:, 0, ::-1])


def depth_picture(depth: NDArray[np.floating], known: NDArray[np.bool_], near: float, far: float) -> Image:
    """Depths (H, W) as colours; the background colour where unknown."""
    canvas: Image = np.empty((*depth.shape, 3), np.uint8)
    canvas[:] = BACKGROUND
    canvas[known] = depth_colors(depth[known].astype(np.float64), near, far)
    return canvas


def depth_span(depth: NDArray[np.floating]) -> tuple[float, float]:
    """Limits in metres that nearly all depths are between."""
    if not depth.size:
        return 0.0, 1.0
    near, far = np.percentile(depth, [2, 98])
    return float(near), float(far)


def overlay(
    image: Image,
    camera: Camera,
    map_from_camera: ArrayLike,
    points: NDArray[np.float32],
    spacing: float,
    inlier_pixels: NDArray[np.float64] | None = None,
) -> Image:
    """The dimmed image with visible map points coloured by depth, a legend, and inliers as rings."""
    _, pixels, depth = visible_pixels(points, camera, map_from_camera, spacing)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    base: Image = np.asarray(cv2.addWeighted(image, 0.35, grey, 0.45, 0), np.uint8)
    if len(depth):
        near, far = depth_span(depth)
        sparse = _one_per_cell(pixels, SPACING)
        draw_points(base, pixels[sparse], np.full(len(sparse), 2.0), depth_colors(depth[sparse], near, far))
        _legend(base, near, far)
    if inlier_pixels is not None:
        _draw_rings(base, inlier_pixels)
    return base


def render_map(
    camera: Camera,
    map_from_camera: ArrayLike,
    cloud: PointCloud,
    spacing: float,
) -> Image:
    """The map as seen by the camera: discs as large as the spacing, in the map's colours or by depth."""
    indices, pixels, depth = visible_pixels(cloud.points, camera, map_from_camera, spacing)
    canvas = np.empty((camera.height, camera.width, 3), np.uint8)
    canvas[:] = BACKGROUND
    if len(depth):
        near, far = depth_span(depth)
        tones = depth_colors(depth, near, far) if cloud.colors is None else cloud.colors[indices]
        draw_points(canvas, pixels, 0.75 * spacing * camera.fx / depth, tones)
    return canvas


def overlay_parts(
    image: Image, camera: Camera, map_from_camera: ArrayLike, cloud: PointCloud, spacing: float
) -> list[tuple[str, Image]]:
    """Image, map over image, and map from the estimated pose, with titles.

    `camera` must have no distortion and belong to `image`.
    """
    picture, small, _ = shrunk(image, camera, PANEL_WIDTH)
    drawn = overlay(picture, small, map_from_camera, cloud.points, spacing)
    return [
        ("camera image", picture),
        ("map points over it, coloured by depth", drawn),
        ("map seen from the estimated pose", render_map(small, map_from_camera, cloud, spacing)),
    ]


def shrunk(image: Image, camera: Camera, width: int) -> tuple[Image, Camera, float]:
    """Image and camera with a width of at most `width`, and the scale: u becomes (u + 0.5) scale - 0.5."""
    scale = min(1.0, width / camera.width)
    size = round(camera.width * scale), max(1, round(camera.height * scale))
    picture: Image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return picture, camera.scaled_to(*size), scale


def titled_row(parts: Sequence[tuple[str, Image]], caption: str) -> Image:
    """Pictures of the same height side by side, each with a title above, and a caption below."""
    columns = []
    for title, part in parts:
        head = np.empty((24, part.shape[1], 3), np.uint8)
        head[:] = BACKGROUND
        cv2.putText(head, title, (6, 17), FONT, 0.45, (235, 235, 235), 1, cv2.LINE_AA)
        columns.append(np.vstack([head, part]))
    row = np.hstack(columns)
    foot = np.empty((28, row.shape[1], 3), np.uint8)
    foot[:] = BACKGROUND
    cv2.putText(foot, caption, (6, 19), FONT, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([row, foot])


def live_picture(
    answer: Localization, image: Image, camera: Camera, points: NDArray[np.float32], spacing: float
) -> Image:
    """The image with inliers as rings, the map's points (N, 3) if there is a pose, and the result as text.

    `camera` must have no distortion and belong to `image`. At most 640 pixels wide.
    """
    picture, small, scale = shrunk(image, camera, LIVE_WIDTH)
    rings = (answer.inlier_pixels + 0.5) * scale - 0.5
    words = f"not localized: {answer.reason}"
    if answer.map_from_camera is not None:
        picture = overlay(picture, small, answer.map_from_camera, points, spacing, rings)
        words = f"{answer.num_inliers} of {answer.num_correspondences} inliers, submap {answer.submap}"
    else:
        _draw_rings(picture, rings)
    cv2.putText(picture, words, (6, 17), FONT, 0.45, BACKGROUND, 3, cv2.LINE_AA)
    cv2.putText(picture, words, (6, 17), FONT, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return picture


def _draw_rings(canvas: Image, pixels: NDArray[np.float64]) -> None:
    for u, v in np.rint(pixels).astype(int):
        cv2.circle(canvas, (int(u), int(v)), 3, (255, 255, 255), 1, cv2.LINE_AA)


def _one_per_cell(pixels: NDArray[np.float64], cell: int) -> NDArray[np.int64]:
    """Indices of the last of the pixels (K, 2) in each square of `cell` pixels."""
    columns, rows = (pixels // cell).astype(np.int64).T
    _, from_end = np.unique((rows * 100_000 + columns)[::-1], return_index=True)
    return np.asarray(np.sort(len(pixels) - 1 - from_end))


def _legend(canvas: Image, near: float, far: float) -> None:
    """A bar from near to far in the lower left corner."""
    height, width = canvas.shape[:2]
    bar_width, x, y = min(140, width // 3), 8, height - 14
    ramp = depth_colors(np.linspace(near, far, bar_width), near, far)
    canvas[y - 24 : y + 12, x - 4 : x + bar_width + 5] = np.array(BACKGROUND, np.uint8)
    canvas[y : y + 8, x : x + bar_width] = ramp[None]
    for text, at in ((f"{near:.1f} m", x), (f"{far:.1f} m", x + bar_width - 42)):
        cv2.putText(canvas, text, (at, y - 6), FONT, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
