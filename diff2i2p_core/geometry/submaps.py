"""Submaps: the map as seen from a virtual view. Training and mapping cut their clouds with the same code."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from diff2i2p_core.compiled import compiled
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud

_BUFFER_LONG_SIDE = 160
MAX_LEVEL = 5
OVERLAP = 0.25
"""Part of a level, so that no gap is left between the depths of two levels."""


@dataclass(frozen=True)
class SubmapSettings:
    """How submaps are cut. The network is trained on views cut with these values; a map records its own."""

    spacing: float = 0.05
    """Metres between the points of a submap."""
    min_depth: float = 0.15
    max_depth: float = 5.0
    """Metres. Points farther away are left out."""
    horizontal_fov_deg: float = 75.0
    vertical_fov_deg: float = 60.0
    margin: float = 0.1
    """Fraction of the view's width and height that is added on each side."""

    def camera(self) -> Camera:
        """The virtual pinhole camera of the view (without the margin)."""
        width, height = 640, 480
        return Camera(
            width,
            height,
            fx=width / 2 / math.tan(math.radians(self.horizontal_fov_deg) / 2),
            fy=height / 2 / math.tan(math.radians(self.vertical_fov_deg) / 2),
            cx=(width - 1) / 2,
            cy=(height - 1) / 2,
        )


def cut_submap(
    cloud: PointCloud,
    view_from_map: ArrayLike,
    settings: SubmapSettings | None = None,
    camera: Camera | None = None,
) -> PointCloud:
    """The part of a map's cloud that a view sees, in the view's optical frame.

    The cloud should have at most about `settings.spacing` metres between its points; the view's points are
    thinned to that spacing. `camera` replaces the settings' virtual camera.
    """
    settings = settings or SubmapSettings()
    seen = visible_points(
        cloud.points,
        view_from_map,
        camera or settings.camera(),
        min_depth=settings.min_depth,
        max_depth=settings.max_depth,
        spacing=settings.spacing,
        margin=settings.margin,
    )
    return cloud.take(seen).moved(view_from_map).thinned(settings.spacing)


def visible_points(
    points: NDArray[np.float32],
    camera_from_map: ArrayLike,
    camera: Camera,
    *,
    max_depth: float = 5.0,
    spacing: float = 0.05,
    margin: float = 0.1,
    min_depth: float = 0.15,
) -> NDArray[np.int64]:
    """Indices, ascending, of the map's points (N, 3) that a camera sees: in its frustum and not hidden.

    The frustum extends `margin` of the image's size beyond each border, and from `min_depth` to `max_depth`
    metres. A coarse z-buffer finds the front surface. A point whose `spacing` covers several buffer pixels is
    drawn into a coarser buffer, so that near surfaces have no holes. Points are hidden if they are behind the
    front by more than the sum of their spacing, 3 % of the depth and the local slope of the surface.
    """
    matrix = np.asarray(camera_from_map, np.float32)
    x, y, depth = (points @ matrix[:3, :3].T + matrix[:3, 3]).T
    indices = np.flatnonzero((depth > min_depth) & (depth < max_depth))
    x, y, z = x[indices], y[indices], depth[indices]
    scale = np.float32(_BUFFER_LONG_SIDE / (max(camera.width, camera.height) * (1 + 2 * margin)))
    width = math.ceil(camera.width * (1 + 2 * margin) * scale)
    height = math.ceil(camera.height * (1 + 2 * margin) * scale)
    u = (np.float32(camera.fx) * x / z + np.float32(camera.cx + 0.5 + margin * camera.width)) * scale
    v = (np.float32(camera.fy) * y / z + np.float32(camera.cy + 0.5 + margin * camera.height)) * scale
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    indices, z = indices[inside], z[inside]
    cells = v[inside].astype(np.int32) * width + u[inside].astype(np.int32)
    footprint_at_1m = float(1.5 * spacing * max(camera.fx, camera.fy) * scale)
    limit = front_limit(z, cells, (height, width), footprint_at_1m, spacing)
    shown: NDArray[np.int64] = indices[z <= limit.reshape(-1)[cells]]
    return shown


def front_limit(
    z: NDArray[np.float32],
    cells: NDArray[np.int32],
    shape: tuple[int, int],
    footprint_at_1m: float,
    spacing: float,
    *,
    closed: bool = False,
) -> NDArray[np.float32]:
    """The largest visible depth at each pixel (H, W) of a coarse buffer; inf where there is no surface.

    For points with depths `z` (N,) in these pixels (row by row) of it. A point covers `footprint_at_1m` of
    them at 1 m. The limit is behind the front by `spacing`, 3 % of the depth and the surface's slope.
    `closed`: gaps of one cell are closed, so that a footprint of half the spacing leaves none.
    """
    overlap = 2**OVERLAP if closed else 1.0
    levels = np.arange(MAX_LEVEL + 1)
    # At these depths, a footprint is 2^(n-1) to 2^n pixels wide.
    low, high = footprint_at_1m / 2.0**levels, overlap * footprint_at_1m / 2.0 ** (levels - 1)
    low[-1], high[0] = 0.0, math.inf
    fronts = _front_depths(z, cells, *shape, low.astype(np.float32), high.astype(np.float32))
    limit = np.full(shape, np.inf, np.float32)
    for level, front in enumerate(fronts):
        if np.isfinite(front).any():
            step = 1 << level
            front = front[: -(-shape[0] // step), : -(-shape[1] // step)]
            np.minimum(limit, level_limit(front, level, shape, spacing, closed=closed), out=limit)
    return limit


@compiled
def _front_depths(
    z: NDArray[np.float32],
    cells: NDArray[np.int32],
    height: int,
    width: int,
    low: NDArray[np.float32],
    high: NDArray[np.float32],
) -> NDArray[np.float32]:
    """The smallest depth in each cell of each level (L, H, W), of depths from `low` to `high` (L,), which
    descend; inf if there is none. A cell of level n is 2^n wide, so higher levels fill only a corner."""
    fronts = np.full((len(low), height * width), np.inf, np.float32)
    for i in range(len(z)):
        for n in range(len(low)):
            if z[i] >= high[n]:
                break
            if z[i] >= low[n]:
                cell = cells[i]
                if n > 0:  # a division takes longer than the rest
                    cell = (cell // width >> n) * width + (cell % width >> n)
                fronts[n, cell] = min(fronts[n, cell], z[i])
    return fronts.reshape(len(low), height, width)


def level_limit(
    front: NDArray[np.float32], level: int, shape: tuple[int, int], spacing: float, *, closed: bool
) -> NDArray[np.float32]:
    """The part (H, W) of `front_limit` of one level, whose cells have 2^level x 2^level pixels and the depths
    `front`; inf where there is no surface."""
    if closed:
        front = _without_gaps(front)
    tolerated = front * np.float32(1.03) + np.float32(spacing) + _slope(front)
    step = 1 << level
    full: NDArray[np.float32] = tolerated.repeat(step, axis=0).repeat(step, axis=1)[: shape[0], : shape[1]]
    return full


def _without_gaps(front: NDArray[np.float32]) -> NDArray[np.float32]:
    """Depth (H, W) with single cells and lines that lie behind all around them brought to the front."""
    with np.errstate(divide="ignore"):
        closed = cv2.morphologyEx(1 / front, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        return np.asarray(1 / closed, np.float32)


def _slope(front: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much the front depth (H, W) changes within a cell: the smaller step to either side, in both axes.

    The larger step may be an occlusion edge, so the smaller one is used.
    """
    total = np.zeros_like(front)
    padded = np.pad(front, 1, constant_values=np.inf)
    with np.errstate(invalid="ignore"):
        for before, after in (
            (padded[:-2, 1:-1], padded[2:, 1:-1]),
            (padded[1:-1, :-2], padded[1:-1, 2:]),
        ):
            step = np.fmin(np.abs(front - before), np.abs(front - after))
            total += np.where(np.isfinite(step), step, 0)
    widths: NDArray[np.float32] = np.minimum(total, np.float32(0.25))
    return widths
