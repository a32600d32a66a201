"""The points of a map in a browser, drawn with viser, and the panel that says what is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.mapping.map_file import PointMap
from diff2i2p_core.reports.map_scene import SHAPE, VIEW, VIEW_DEPTH, frustum, show_lines, some, swatch
from diff2i2p_core.reports.overlay import depth_colors
from diff2i2p_core.typing import Array

if TYPE_CHECKING:
    from viser import PointCloudHandle, ViserServer

MOST_POINTS = 1_000_000
MOST_VIEWS = 2_000
"""Of more, some at equal distances are drawn, so that the browser stays fast."""
LAYERS = 40
"""The points are drawn in layers by height, so that those above a chosen height can be hidden."""
HEADROOM = 0.4
"""Metres above the highest view at which the map is cut at first: rooms are open, and their walls stand."""


def show_map(server: ViserServer, point_map: PointMap, title: str) -> None:
    """The map's points, /map/0 (lowest) and so on, and the cameras that it was viewed from, /views.

    The panel has `title`, what is drawn, and sliders for the height of the map and the size of points.
    """
    server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False)
    views, up = point_map.viewpoints, up_direction(point_map.viewpoints)
    server.scene.set_up_direction(up)
    cloud, spacing = _points(point_map)
    heights = cloud.points @ up.astype(np.float32)
    low, high = np.quantile(heights, [0.001, 0.999]).tolist() if len(cloud) else (0.0, 1.0)
    colors, meaning = _colors(cloud, heights)
    if len(views):
        camera = SHAPE if point_map.rendered is None else point_map.rendered.views.settings.camera()
        few = views[some(len(views), MOST_VIEWS)]
        lines = np.concatenate([transform_points(pose, frustum(camera, VIEW_DEPTH)) for pose in few])
        show_lines(server, "/views", lines.reshape(-1, 2, 3), VIEW)
    server.gui.add_markdown(
        f"**{title}**: {len(cloud):,} points, {meaning}; {swatch(VIEW)} {_count(len(views), MOST_VIEWS)} "
        "that the map was described from.\n\nDrag to turn, with the right button to move; wheel to zoom."
    )
    step = max((high - low) / LAYERS, 1e-3)
    layers = _add_layers(server, cloud.points, colors, spacing, np.floor((heights - low) / step))
    cut = high if not len(views) else float((views[:, :3, 3] @ up).max()) + HEADROOM
    _add_sliders(server, layers, low, step, cut, spacing)
    _look_down(server, cloud.points, up, min(cut, high))


def up_direction(views: Array) -> Array:
    """(3,) the axis of the map nearest to where most of the views (V, 4, 4) have their top; z without any."""
    up = -views[:, :3, 1].mean(axis=0) if len(views) else np.array([0.0, 0.0, 1.0])
    axis = int(np.abs(up).argmax())
    return np.asarray(np.eye(3)[axis] * (1.0 if up[axis] >= 0 else -1.0))


def _add_layers(
    server: ViserServer,
    points: NDArray[np.float32],
    colors: NDArray[np.uint8],
    spacing: float,
    layer: NDArray[np.floating],
) -> dict[int, PointCloudHandle]:
    """The points (N, 3) as one cloud for each number in `layer` (N,), limited to 0 ... LAYERS - 1."""
    layer = layer.clip(0, LAYERS - 1)
    return {
        number: server.scene.add_point_cloud(
            f"/map/{number}",
            points[rows],
            colors[rows],
            point_size=spacing,
            precision="float32",
            point_shape="circle",
            point_shading="flat",
        )
        for number in range(LAYERS)
        if (rows := layer == number).any()
    }


def _add_sliders(
    server: ViserServer,
    layers: dict[int, PointCloudHandle],
    low: float,
    step: float,
    cut: float,
    spacing: float,
) -> None:
    """How much of the map is seen: layers of `step` metres from the height `low` on; and the points' size."""
    number = int(np.clip(np.ceil((cut - low) / step), 1, LAYERS))
    top = server.gui.add_slider("layers", 1, LAYERS, 1, number, hint="Hides the upper layers of the map.")
    words = server.gui.add_markdown("")
    width = round(float(np.clip(100 * spacing, 0.2, 10.0)), 1)
    size = server.gui.add_slider("points, cm", 0.2, 10.0, 0.1, width)

    def hide() -> None:
        for index, points in layers.items():
            points.visible = index < top.value
        words.content = f"Points above {low + top.value * step:.1f} m are hidden."
        words.visible = top.value < LAYERS

    def resize() -> None:
        for points in layers.values():
            points.point_size = size.value / 100

    top.on_update(lambda event: hide())
    size.on_update(lambda event: resize())
    hide()


def _points(point_map: PointMap) -> tuple[PointCloud, float]:
    """The finest cloud of the map, or some of its points, and the metres between them."""
    cloud, spacing = point_map.cloud, point_map.spacing
    if point_map.rendered is not None:
        cloud, spacing = point_map.rendered.cloud.cloud, point_map.rendered.spacing
    shown = cloud.take(some(len(cloud), MOST_POINTS))
    return shown, spacing * float(np.sqrt(len(cloud) / max(len(shown), 1)))


def _colors(cloud: PointCloud, heights: NDArray[np.floating]) -> tuple[NDArray[np.uint8], str]:
    """(N, 3) the cloud's colours, else its intensity, else its heights, and what they mean."""
    if cloud.colors is not None:
        return cloud.colors, "in their colours"
    if cloud.intensity is not None:
        return np.repeat(cloud.intensity[:, None], 3, axis=1), "grey by intensity"
    low, high = np.quantile(heights, [0.02, 0.98]) if len(heights) else (0.0, 1.0)
    return depth_colors(
        high - heights.astype(np.float64), 0, float(high - low)
    ), "coloured by height, from blue to red"


def _count(views: int, most: int) -> str:
    return f"{views:,} views" if views <= most else f"{most:,} of {views:,} views"


def _look_down(server: ViserServer, points: NDArray[np.float32], up: Array, cut: float) -> None:
    """Start the browser's view above the map, so that it fills the page."""
    server.initial_camera.up = up
    if not len(points):
        return
    low, high = np.quantile(points, [0.02, 0.98], axis=0)
    middle = (low + high) / 2
    middle += up * ((min(low @ up, high @ up) + cut) / 2 - middle @ up)
    aside = np.roll([0.35, -0.75, 0.0], int(np.abs(up).argmax()) + 1)
    size = float(np.linalg.norm((high - low) * (1 - np.abs(up))))
    server.initial_camera.look_at = middle
    server.initial_camera.position = middle + (aside + 0.75 * up) * 0.75 * size
