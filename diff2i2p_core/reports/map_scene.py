"""A map in a browser, drawn with viser: points, views, cameras, matches, uncertainty, poses of a replay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import to_quaternion
from diff2i2p_core.mapping.map_file import PointMap
from diff2i2p_core.typing import Array, Image

if TYPE_CHECKING:
    from viser import ViserServer

MOST_POINTS = 1_000_000
MOST_VIEWS = 400
"""More of them take a browser too long; then some at equal distances are drawn."""
RIGHT, WRONG, VIEW, CAMERA_COLOR = (40, 170, 80), (210, 60, 50), (120, 130, 145), (40, 100, 200)
VIEW_SCALE, CAMERA_SCALE = 0.12, 0.35
"""Metres from a camera's centre to its image."""
SIGMAS = 3.0
"""The ellipsoid's surface, in standard deviations."""


def show_map(server: ViserServer, point_map: PointMap) -> None:
    """The map's points, /map, and the cameras that it was viewed from, /views/0 and so on."""
    cloud = point_map.cloud
    rows = _some(len(cloud), MOST_POINTS)
    points = cloud.points[rows]
    colors = _heights(points.astype(np.float64)) if cloud.colors is None else cloud.colors[rows]
    server.scene.add_point_cloud(
        "/map", points, colors, point_size=point_map.spacing / 2, precision="float32", point_shape="circle"
    )
    rendered = point_map.rendered
    camera = rendered.views.settings.camera() if rendered is not None else Camera(4, 3, 3, 3, 1.5, 1)
    views = point_map.viewpoints
    for number in _some(len(views), MOST_VIEWS).tolist():
        show_camera(server, f"/views/{number}", views[number], camera, scale=VIEW_SCALE, color=VIEW)
    low, high = points.min(axis=0), points.max(axis=0)
    middle = (low + high) / 2
    server.initial_camera.look_at = middle
    server.initial_camera.position = middle + np.array([0.6, -0.9, 0.9]) * float(np.ptp(points[:, :2]))
    server.initial_camera.up = (0.0, 0.0, 1.0)


def show_camera(
    server: ViserServer,
    name: str,
    map_from_camera: Array,
    camera: Camera,
    image: Image | None = None,
    *,
    scale: float = CAMERA_SCALE,
    color: tuple[int, int, int] = CAMERA_COLOR,
) -> None:
    """A camera without distortion as a frustum, with its image (H, W, 3)."""
    server.scene.add_camera_frustum(
        name,
        fov=2 * float(np.arctan(camera.height / 2 / camera.fy)),
        aspect=camera.width / camera.height,
        scale=scale,
        color=color,
        image=image,
        format="jpeg",
        wxyz=quaternion_wxyz(map_from_camera),
        position=map_from_camera[:3, 3],
    )


def show_matches(
    server: ViserServer, map_from_camera: Array, points: Array, right: NDArray[np.bool_]
) -> None:
    """Lines from the camera to the matched points (N, 3): /matches/right in green, /matches/wrong in red."""
    for name, rows, color in (("right", right, RIGHT), ("wrong", ~right, WRONG)):
        ends = points[rows]
        if len(ends):
            lines = np.stack([np.broadcast_to(map_from_camera[:3, 3], ends.shape), ends], axis=1)
            server.scene.add_line_segments(
                f"/matches/{name}", lines.astype(np.float32), color, thickness=1.0, thickness_units="screen"
            )


def show_covariance(server: ViserServer, map_from_camera: Array, covariance: Array) -> None:
    """The position's uncertainty, /covariance: an ellipsoid of three standard deviations.

    `covariance` (6, 6) begins with the position in the map frame, as in `Localization`.
    """
    vertices, faces = unit_sphere()
    variances, axes = np.linalg.eigh(covariance[:3, :3])
    radii = SIGMAS * np.sqrt(np.maximum(variances, 0))
    server.scene.add_mesh_simple(
        "/covariance",
        (vertices * radii) @ axes.T,
        faces,
        color=CAMERA_COLOR,
        opacity=0.4,
        side="double",
        position=map_from_camera[:3, 3],
    )


def show_replay(server: ViserServer, stamps: Sequence[float], poses: Sequence[Array]) -> None:
    """The poses of a replay as a line, /replay/path, and one of them, chosen with a slider, as axes."""
    path = np.array([pose[:3, 3] for pose in poses], np.float32)
    if len(path) > 1:
        lines = np.stack([path[:-1], path[1:]], axis=1)
        server.scene.add_line_segments(
            "/replay/path", lines, CAMERA_COLOR, thickness=2.0, thickness_units="screen"
        )
    body = server.scene.add_frame("/replay/body", axes_length=0.4, axes_radius=0.015)
    slider = server.gui.add_slider("pose", 0, max(len(poses) - 1, 1), 1, 0)
    words = server.gui.add_markdown("")

    def show(number: int) -> None:
        body.wxyz, body.position = quaternion_wxyz(poses[number]), poses[number][:3, 3]
        x, y, z = poses[number][:3, 3]
        words.content = f"{stamps[number] - stamps[0]:.2f} s: ({x:.2f}, {y:.2f}, {z:.2f}) m"

    slider.on_update(lambda event: show(min(int(slider.value), len(poses) - 1)))
    show(0)


def quaternion_wxyz(pose: Array) -> tuple[float, float, float, float]:
    x, y, z, w = to_quaternion(pose)
    return float(w), float(x), float(y), float(z)


def unit_sphere(rings: int = 12, sectors: int = 24) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Vertices (V, 3) and triangles (F, 3) of a sphere."""
    polar, around = np.meshgrid(np.linspace(0, np.pi, rings + 1), np.linspace(0, 2 * np.pi, sectors + 1))
    vertices = np.stack(
        [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=-1
    )
    index = np.arange(vertices[..., 0].size).reshape(polar.shape)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    faces = np.concatenate([np.stack([a, b, c], axis=-1), np.stack([a, c, d], axis=-1)]).reshape(-1, 3)
    return vertices.reshape(-1, 3), faces.astype(np.int32)


def _some(count: int, most: int) -> NDArray[np.int64]:
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def _heights(points: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Grey (N, 3) by height, for clouds without colours."""
    low, high = np.quantile(points[:, 2], [0.02, 0.98])
    grey = np.clip((points[:, 2] - low) / max(high - low, 1e-6), 0, 1) * 150 + 60
    return np.repeat(grey.astype(np.uint8)[:, None], 3, axis=1)
