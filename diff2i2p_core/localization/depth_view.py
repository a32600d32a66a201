"""The depth of a query: points with normals, sampled so that all directions count alike."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import back_project
from diff2i2p_core.geometry.fused_views import without_edges
from diff2i2p_core.geometry.voxels import voxel_means
from diff2i2p_core.mapping.surface import FINE, OrientedCloud
from diff2i2p_core.typing import Array

FARTHEST = 5.0
"""Metres. Farther depth of small cameras is too noisy."""
_COLUMNS = 160
"""Pixels in a row of the smaller image that is used."""
_KNOWN = 0.5
"""Fraction of such a pixel that must have depth."""
_FEW, _MANY = 250, 1200
_LEAST = 200
"""Points. Less depth registers nowhere."""
_SHARE = 0.02
"""Directions with a smaller fraction of the points are not preferred further."""
_DIRECTIONS: Array = np.array([d for d in product((-1, 0, 1), repeat=3) if any(d)], np.float64)
_DIRECTIONS /= np.linalg.norm(_DIRECTIONS, axis=1, keepdims=True)


@dataclass(frozen=True)
class DepthView:
    """Points of a depth image in the camera frame, with unit normals that face the camera.

    Rows are sampled by their normals: a floor that fills the image has no more weight than a small object,
    which tells where on the floor the camera is (normal-space sampling, Rusinkiewicz and Levoy, 3DIM 2001).
    """

    points: Array
    """(N, 3) metres."""
    normals: Array
    """(N, 3)."""
    few: NDArray[np.int64]
    """Rows for comparing many poses."""
    many: NDArray[np.int64]
    """Rows for the final pose."""

    @classmethod
    def of(cls, depth: NDArray[np.float32], camera: Camera) -> DepthView | None:
        """From depth (H, W) in metres of a camera without distortion. None if there is too little."""
        usable = without_edges(np.where(np.isfinite(depth) & (depth < FARTHEST), depth, 0).astype(np.float32))
        points = back_project(*_averaged(usable, camera)).reshape(-1, 3)
        points = points[points[:, 2] > 0]
        if len(points) < _LEAST:
            return None
        cloud = OrientedCloud(voxel_means(points, FINE).astype(np.float64))
        if len(cloud.points) < _LEAST:
            return None
        away = (cloud.normals * cloud.points).sum(axis=1, keepdims=True) > 0
        normals = np.where(away, -cloud.normals, cloud.normals)
        return cls(cloud.points, normals, _balanced(normals, _FEW), _balanced(normals, _MANY))


def _averaged(depth: NDArray[np.float32], camera: Camera) -> tuple[NDArray[np.float32], Camera]:
    """A smaller depth image and its camera. Means of the inverse depth are exact on planes, and have less
    noise than single pixels."""
    if camera.width <= _COLUMNS:
        return depth, camera
    small = camera.scaled_to(_COLUMNS, max(1, round(camera.height * _COLUMNS / camera.width)))
    valid = depth > 0
    inverse = np.divide(1, depth, out=np.zeros_like(depth), where=valid)
    size = small.width, small.height
    total, known = (
        cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in (inverse, valid.astype(np.float32))
    )
    mean = np.divide(known, total, out=np.zeros_like(total), where=known > _KNOWN)
    return mean, small


def _balanced(normals: Array, count: int) -> NDArray[np.int64]:
    """At most `count` random rows, such that each direction of the normals has about as many."""
    direction = (normals @ _DIRECTIONS.T).argmax(axis=1)
    alike = np.bincount(direction, minlength=len(_DIRECTIONS))[direction]
    weight = 1 / np.maximum(alike, _SHARE * len(normals))
    rng = np.random.default_rng(0)
    return rng.choice(len(normals), min(count, len(normals)), replace=False, p=weight / weight.sum())
