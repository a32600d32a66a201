"""Things in a map, drawn in a browser with viser: cameras with their images, lines, uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import to_quaternion
from diff2i2p_core.typing import Array, Image

if TYPE_CHECKING:
    from viser import FrameHandle, ViserServer

Color = tuple[int, int, int]
VIEW, CAMERA_COLOR = (150, 158, 172), (90, 160, 255)
VIEW_DEPTH, CAMERA_DEPTH = 0.15, 0.6
"""Metres from a camera's centre to its image."""
SIGMAS = 3.0
"""The ellipsoid's surface, in standard deviations."""
LEAST_RADIUS = 0.05
"""Metres. A smaller ellipsoid is drawn 10 or 100 times larger."""
SHAPE = Camera(4, 3, 3.5, 3.5, 1.5, 1.0)
"""Of cameras that are drawn although their calibration is unknown."""


def show_camera(
    server: ViserServer,
    name: str,
    map_from_camera: Array,
    camera: Camera,
    image: Image | None = None,
    color: Color = CAMERA_COLOR,
) -> FrameHandle:
    """A camera without distortion as a pyramid with its image (H, W, 3). Moving the frame moves both."""
    frame = server.scene.add_frame(
        name, show_axes=False, wxyz=quaternion_wxyz(map_from_camera), position=map_from_camera[:3, 3]
    )
    show_lines(server, f"{name}/frustum", frustum(camera, CAMERA_DEPTH).reshape(-1, 2, 3), color, 2.0)
    if image is not None:
        size = camera.width * CAMERA_DEPTH / camera.fx, camera.height * CAMERA_DEPTH / camera.fy
        middle = on_image(camera, [[(camera.width - 1) / 2, (camera.height - 1) / 2]], CAMERA_DEPTH)[0]
        server.scene.add_image(f"{name}/image", image, *size, format="jpeg", position=middle)
    return frame


def show_covariance(server: ViserServer, map_from_camera: Array, covariance: Array) -> str:
    """The position's uncertainty, /covariance: an ellipsoid of three standard deviations. Returns its size
    in words.

    `covariance` (6, 6) begins with the position in the map frame, as in `Localization`.
    """
    vertices, faces = unit_sphere()
    variances, axes = np.linalg.eigh(covariance[:3, :3])
    radii = SIGMAS * np.sqrt(np.maximum(variances, 0))
    larger = next((times for times in (1, 10) if times * radii.max() >= LEAST_RADIUS), 100)
    server.scene.add_mesh_simple(
        "/covariance",
        (vertices * radii * larger) @ axes.T,
        faces,
        color=CAMERA_COLOR,
        opacity=0.5,
        side="double",
        position=map_from_camera[:3, 3],
    )
    drawn = "" if larger == 1 else f", drawn {larger} times larger"
    return f"three standard deviations of the position, at most {100 * radii.max():.2g} cm{drawn}"


def show_lines(
    server: ViserServer, name: str, lines: NDArray[np.floating], color: Color, thickness: float = 1.0
) -> None:
    """Lines (N, 2, 3) in the frame of `name`'s parent, some pixels thick."""
    server.scene.add_line_segments(
        name, lines.astype(np.float32), color, thickness=thickness, thickness_units="screen"
    )


def frustum(camera: Camera, depth: float) -> Array:
    """Ends (16, 3) of the lines of a camera's pyramid, in its frame: each two are a line."""
    right, bottom = camera.width - 0.5, camera.height - 0.5
    corners = on_image(camera, [[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom]], depth)
    ends = [end for corner in corners for end in (np.zeros(3), corner)]
    return np.array([*ends, *(end for i in range(4) for end in (corners[i], corners[(i + 1) % 4]))])


def on_image(camera: Camera, pixels: ArrayLike, depth: float) -> Array:
    """Points (N, 3) in the camera's frame at pixels (N, 2), `depth` metres ahead."""
    rays = (np.asarray(pixels, float) - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
    return depth * np.column_stack([rays, np.ones(len(rays))])


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


def swatch(color: Sequence[int]) -> str:
    """A coloured square as HTML."""
    return f'<span style="color:rgb({color[0]},{color[1]},{color[2]})">&#9632;</span>'


def some(count: int, most: int) -> NDArray[np.int64]:
    """`most` of the indices below `count`, at equal distances; all of them if there are not more."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)
