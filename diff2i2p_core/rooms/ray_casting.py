"""Ray casting of textured rectangles to an RGB image and its exact depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import invert, transform_points
from diff2i2p_core.rooms.textures import Material, Texture
from diff2i2p_core.typing import Array

NEAR = 0.05
"""Metres. Nearer surfaces are not drawn."""


@dataclass(frozen=True)
class Rectangle:
    """A one-sided textured rectangle. Seen from its front, the texture's columns run along `edge_u` (right)
    and its rows along `edge_v` (down). Both edges are the full sides in metres."""

    origin: Array
    edge_u: Array
    edge_v: Array
    texture: Texture
    mask: NDArray[np.bool_] | None = None
    """Where the texture is opaque; everywhere if None."""

    @property
    def normal(self) -> Array:
        """Unit vector out of the visible side."""
        cross = np.cross(self.edge_v, self.edge_u)
        return np.asarray(cross / np.linalg.norm(cross))

    @property
    def corners(self) -> Array:
        o, u, v = self.origin, self.edge_u, self.edge_v
        return np.stack([o, o + u, o + u + v, o + v])

    def moved(self, yaw: float, offset: ArrayLike) -> Rectangle:
        """Rotated about the vertical by `yaw` radians, then shifted."""
        c, s = np.cos(yaw), np.sin(yaw)
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
        origin = turn @ self.origin + np.asarray(offset, float)
        return Rectangle(origin, turn @ self.edge_u, turn @ self.edge_v, self.texture, self.mask)


def box(
    rng: np.random.Generator,
    center: ArrayLike,
    size: ArrayLike,
    side: Material,
    front: Material | None = None,
    top: Material | None = None,
) -> list[Rectangle]:
    """The six faces of an axis-aligned box. The front faces -y."""
    (x, y, z), (w, d, h) = np.asarray(center, float), np.asarray(size, float)
    x0, x1, y0, y1, z0, z1 = x - w / 2, x + w / 2, y - d / 2, y + d / 2, z - h / 2, z + h / 2
    ex, ey, ez = np.diag([w, d, h])
    faces = [
        ((x0, y0, z1), ex, -ez, front or side),
        ((x1, y1, z1), -ex, -ez, side),
        ((x1, y0, z1), ey, -ez, side),
        ((x0, y1, z1), -ey, -ez, side),
        ((x0, y1, z1), ex, -ey, top or side),
        ((x0, y0, z0), ex, ey, side),
    ]
    return [
        Rectangle(np.array(o), u, v, material(rng, float(np.linalg.norm(u)), float(np.linalg.norm(v))))
        for o, u, v, material in faces
    ]


def prism(
    rng: np.random.Generator, center: ArrayLike, radius: float, height: float, side: Material, sides: int = 9
) -> list[Rectangle]:
    """An upright prism close to a cylinder around its `center`, with a round lid."""
    x, y, z = np.asarray(center, float)
    angles = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)
    band = side(rng, 2 * np.pi * radius, height)
    down = np.array([0, 0, -height])
    faces = []
    for i in range(sides):
        left, right = ring[i], ring[i + 1]
        part = band[:, band.shape[1] * i // sides : band.shape[1] * (i + 1) // sides + 1]
        edge = np.array([*(right - left), 0.0])
        faces.append(Rectangle(np.array([*left, z + height / 2]), edge, down, part))
    lid = side(rng, 2 * radius, 2 * radius)
    texels = lid.shape[0]
    disc = np.zeros((texels, texels), np.uint8)
    cv2.circle(disc, (texels // 2, texels // 2), texels // 2, 1, -1)
    corner = np.array([x - radius, y + radius, z + height / 2])
    across, along = np.array([2 * radius, 0, 0]), np.array([0, -2 * radius, 0])
    return [*faces, Rectangle(corner, across, along, lid, disc.astype(bool))]


class Scene:
    """Rectangles with their textures packed for fast lookups, and a lamp."""

    def __init__(self, rectangles: Sequence[Rectangle], lamp: ArrayLike, ambient: float = 0.55) -> None:
        self.rectangles = list(rectangles)
        self.lamp = np.asarray(lamp, float)
        self.ambient = ambient
        sizes = np.array([r.texture.shape for r in self.rectangles], np.int64)[:, :2]
        self._rows, self._columns = sizes.T
        self._offset = np.concatenate([[0], np.cumsum(sizes.prod(1))[:-1]])
        self._texels = np.concatenate([r.texture.reshape(-1, 3) for r in self.rectangles])
        self._normal = np.stack([r.normal for r in self.rectangles])
        self._origin = np.stack([r.origin for r in self.rectangles])
        self._corners = np.stack([r.corners for r in self.rectangles])
        # Rows that map (point - origin) to fractions of the two edges.
        self._to_u = np.stack([r.edge_u / (r.edge_u @ r.edge_u) for r in self.rectangles])
        self._to_v = np.stack([r.edge_v / (r.edge_v @ r.edge_v) for r in self.rectangles])

    def render(self, camera: Camera, world_from_camera: ArrayLike) -> tuple[Texture, NDArray[np.float32]]:
        """RGB (H, W, 3) and exact depth (H, W) in metres along the optical axis, 0 where nothing is hit."""
        pose = np.asarray(world_from_camera, float)
        rays_x = ((np.arange(camera.width) - camera.cx) / camera.fx).astype(np.float32)
        rays_y = ((np.arange(camera.height) - camera.cy) / camera.fy).astype(np.float32)
        depth, face, fractions = self._visible(camera, pose, rays_x, rays_y)
        hit = face >= 0
        rows, columns = np.nonzero(hit)
        rays = np.stack([rays_x[columns], rays_y[rows], np.ones(len(rows), np.float32)], 1)
        points = transform_points(pose, rays * depth[hit][:, None]).astype(np.float32)
        color: NDArray[np.float32] = np.zeros((camera.height, camera.width, 3), np.float32)
        color[hit] = self._sample(face[hit], *fractions[hit].T) * self._shade(face[hit], points)[:, None]
        # A lens blurs by about a pixel; this also smooths jagged edges.
        blurred = cv2.GaussianBlur(color, (3, 3), 0.6)
        return np.clip(blurred, 0, 255).astype(np.uint8), np.where(hit, depth, 0).astype(np.float32)

    def _visible(
        self, camera: Camera, pose: Array, rays_x: NDArray[np.float32], rays_y: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
        """Nearest depth (H, W), its rectangle (H, W; -1 if none) and edge fractions of the hit (H, W, 2)."""
        shape = camera.height, camera.width
        depth = np.full(shape, np.inf, np.float32)
        face = np.full(shape, -1, np.int32)
        fractions = np.zeros((*shape, 2), np.float32)
        center, rotation = pose[:3, 3], pose[:3, :3]
        from_origin = center - self._origin
        height_above = np.einsum("ni,ni->n", from_origin, self._normal)
        camera_from_world = invert(pose)
        for i in np.argsort(np.linalg.norm(self._corners.mean(1) - center, axis=1)):
            if height_above[i] <= 1e-6:
                continue
            window = _pixel_window(transform_points(camera_from_world, self._corners[i]), camera)
            if window is None:
                continue
            x, y = rays_x[window[1]][None, :], rays_y[window[0]][:, None]

            def along(
                row: Array, x: NDArray[np.float32] = x, y: NDArray[np.float32] = y
            ) -> NDArray[np.float32]:
                a, b, c = (row @ rotation).astype(np.float32)
                component: NDArray[np.float32] = a * x + (b * y + c)
                return component

            slope = along(self._normal[i])
            with np.errstate(divide="ignore", invalid="ignore"):
                s = np.float32(-height_above[i]) / slope
                u = np.float32(self._to_u[i] @ from_origin[i]) + s * along(self._to_u[i])
                v = np.float32(self._to_v[i] @ from_origin[i]) + s * along(self._to_v[i])
                seen = (u >= 0) & (u < 1) & (v >= 0) & (v < 1) & (s > NEAR) & (s < depth[window])
            mask = self.rectangles[i].mask
            if mask is not None:
                rows, columns = np.nonzero(seen)
                inside = (v[seen] * mask.shape[0]).astype(int), (u[seen] * mask.shape[1]).astype(int)
                seen[rows, columns] = mask[inside]
            depth[window][seen] = s[seen]
            face[window][seen] = i
            fractions[window][seen] = np.stack([u[seen], v[seen]], 1)
        return depth, face, fractions

    def _sample(
        self, face: NDArray[np.int32], u: NDArray[np.float32], v: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Bilinear texture colours (N, 3) at edge fractions of rectangles (N,)."""
        rows, columns, offset = self._rows[face], self._columns[face], self._offset[face]
        x = np.clip(u * columns - 0.5, 0, columns - 1.001).astype(np.float32)
        y = np.clip(v * rows - 0.5, 0, rows - 1.001).astype(np.float32)
        column, row = x.astype(np.int64), y.astype(np.int64)
        right, below = (x - column)[:, None], (y - row)[:, None]
        first = offset + row * columns + column
        texels = self._texels
        upper = texels[first] * (1 - right) + texels[first + 1] * right
        lower = texels[first + columns] * (1 - right) + texels[first + columns + 1] * right
        return np.asarray(upper * (1 - below) + lower * below, np.float32)

    def _shade(self, face: NDArray[np.int32], points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Brightness (N,) of surface points from ambient light and the lamp, without shadows."""
        to_lamp = self.lamp.astype(np.float32) - points
        distance = np.sqrt(np.einsum("ni,ni->n", to_lamp, to_lamp)) + 1e-3
        facing = np.einsum("ni,ni->n", to_lamp, self._normal.astype(np.float32)[face]) / distance
        lit = np.clip(facing, 0, 1) * (1.9 / (1 + 0.12 * distance**2))
        return np.asarray(self.ambient + (1 - self.ambient) * lit, np.float32)


def _pixel_window(corners: Array, camera: Camera) -> tuple[slice, slice] | None:
    """Rows and columns that a polygon (N, 3) in the camera frame can cover; None if it is not in view."""
    clipped = []
    for a, b in zip(corners, np.roll(corners, -1, 0), strict=True):
        if a[2] >= NEAR:
            clipped.append(a)
        if (a[2] >= NEAR) != (b[2] >= NEAR):
            clipped.append(a + (b - a) * (NEAR - a[2]) / (b[2] - a[2]))
    if not clipped:
        return None
    pixels, _ = camera.project(np.stack(clipped))
    low = np.floor(np.clip(pixels.min(0), -1, [camera.width, camera.height])).astype(int)
    high = np.ceil(np.clip(pixels.max(0), -1, [camera.width, camera.height])).astype(int) + 1
    rows = slice(max(low[1], 0), min(high[1], camera.height))
    columns = slice(max(low[0], 0), min(high[0], camera.width))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    return rows, columns
