"""Aligns poses in maps without colours: edges of the rendered shape to edges of the image.

Matched features say roughly where each point is, and pull towards the pose of the render. Edges are exact:
each edge pixel of the render is searched for in the image across its edge, and the pose is fitted to what is
found (as in Harris, RAPID, 1990), from the pose of the features and with its covariance.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.covariance import (
    UNLIKELY,
    difference,
    perturb,
    reprojection,
    squared_distance,
)
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.rendering_again import is_at_rest
from diff2i2p_core.mapping.describe import render_look
from diff2i2p_core.mapping.looks import LOOKS
from diff2i2p_core.mapping.map_file import PointMap
from diff2i2p_core.mapping.view_map import ViewMap
from diff2i2p_core.models.inputs import resized
from diff2i2p_core.ops.shape_edges import ShapeEdges, gradient, shape_edges
from diff2i2p_core.typing import Array, Image

_REACHES = (6, 5, 4, 4, 3, 3)
"""Pixels to each side that are searched, in each iteration."""
_CONTRAST = 1.0
"""Minimum change of the image across an edge, relative to that of its surroundings."""
_SURROUNDINGS, _LEVELS = 20.0, 2.0
"""Pixels (standard deviation), and grey levels per pixel below which everything is noise."""
_SIGMA, _ALIKE = 1.5, 20.0
"""Pixels: standard deviation of a right edge; and the number of neighbours whose errors are the same."""
_SIGMA_SCALE = 5.0
"""Factor on the standard deviations by edges, because errors of the map move many in the same way."""
_FEWEST = 30
"""Edge pixels found in the image, below which a pose is left as it is."""
_RENDERS = 2
"""The most renders, each from the pose that the one before gave."""

EdgeAlign = Callable[[Array, Array], tuple[Array, Array]]
"""Aligns a pose (map_from_camera) with its covariance (6, 6); both are the same if there are few edges."""


class EdgeAligner:
    """The shape of a map, prepared for rendering its edges."""

    def __init__(self, view_map: ViewMap) -> None:
        self._map = view_map

    @classmethod
    def of(cls, point_map: PointMap) -> EdgeAligner | None:
        """None for a map whose views do not show its shape: their images have more to align to."""
        rendered = point_map.rendered
        return cls(rendered) if rendered is not None and rendered.look is LOOKS["geometry"] else None

    def to(self, query: Query) -> EdgeAlign:
        """A function that aligns poses to the query's image."""

        def align(pose: Array, covariance: Array) -> tuple[Array, Array]:
            settings = self._map.views.settings
            camera = settings.resampled(query.camera)
            target = ImageEdges(resized(query.image, camera), camera)
            aligned, less = pose, covariance
            for _ in range(_RENDERS):
                before = aligned
                view = render_look(self._map.cloud, self._map.spacing, before, camera, settings)
                aligned, less = target.align(shape_edges(view.depth, camera), before, covariance)
                if is_at_rest(before, aligned):
                    break
            return aligned, less

        return align


class ImageEdges:
    """The changes of an image, relative to those of their surroundings."""

    def __init__(self, image: Image, camera: Camera) -> None:
        """`image` (H, W, 3) RGB of `camera`."""
        smooth = cv2.GaussianBlur(image.mean(axis=2, dtype=np.float32), (0, 0), 1.0)
        u, v = gradient(smooth)
        around = cv2.GaussianBlur(u * u + v * v, (0, 0), _SURROUNDINGS)
        scale = np.sqrt(around + np.float32(_LEVELS**2))
        self._u, self._v, self._camera = u / scale, v / scale, camera

    def align(self, edges: ShapeEdges, pose: Array, covariance: Array) -> tuple[Array, Array]:
        """The pose near `pose`, from which the edges were rendered, and its covariance."""
        points, start = transform_points(pose, edges.points), pose
        prior = np.linalg.inv(covariance)
        for reach in _REACHES:
            pixels, z, jacobian = reprojection(pose, points, self._camera)
            seen = self._camera.contains(pixels, z)
            if np.count_nonzero(seen) < _FEWEST:
                return start, covariance
            across = edges.directions[seen]
            offsets, weights = self._found(pixels[seen], across, reach)
            if np.count_nonzero(weights) < _FEWEST:
                return start, covariance
            rows = np.einsum("nij,ni->nj", jacobian[seen], across)
            information = rows.T @ (rows * weights[:, None])
            pull = rows.T @ (weights * offsets) + prior @ difference(start, pose)
            pose = perturb(pose, np.linalg.solve(information + prior, pull))
        if squared_distance(pose, start, covariance) > UNLIKELY:  # these are edges of something else
            return start, covariance
        return pose, np.asarray(np.linalg.inv(information / _SIGMA_SCALE**2 + prior))

    def _found(self, pixels: Array, across: Array, reach: int) -> tuple[Array, Array]:
        """How far (N,) the image's edges are from the pixels (N, 2), along `across` (N, 2), and weights: 0
        where there is none. Near ones are preferred, and those at the end of the reach count little."""
        steps = np.arange(-reach, reach + 1)
        at = (pixels[:, None] + steps[:, None] * across[:, None]).astype(np.float32)
        u, v = (cv2.remap(part, at[..., 0], at[..., 1], cv2.INTER_LINEAR) for part in (self._u, self._v))
        change = np.abs(u * across[:, :1] + v * across[:, 1:])
        best = (change * np.exp(-0.5 * (steps / (0.6 * reach)) ** 2)).argmax(axis=1)
        offsets = steps[best].astype(np.float64)
        clear = change[np.arange(len(best)), best] > _CONTRAST
        inside = np.maximum(1 - (offsets / (0.8 * reach)) ** 2, 0) ** 2
        return offsets, inside * clear / (_SIGMA**2 * _ALIKE)
