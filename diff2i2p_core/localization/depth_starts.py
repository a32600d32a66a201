"""Poses from which depth may register in a map: around its views, and with planes parallel to its planes."""

from __future__ import annotations

from functools import cached_property
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from diff2i2p_core.geometry.se3 import compose
from diff2i2p_core.localization.depth_view import DepthView
from diff2i2p_core.mapping.keyframes import select_keyframes
from diff2i2p_core.mapping.surface import FAR, Surface
from diff2i2p_core.typing import Array

_TURNS = [Rotation.from_euler("YX", turn, degrees=True).as_matrix()
          for turn in product((-40, -20, 0, 20, 40), (-15, 0, 15))]  # fmt: skip
_SHIFTS = ((0, 0, 0), (0.4, 0, 0), (-0.4, 0, 0), (0, 0, 0.4), (0, 0, -0.4))
_AROUND: Array = np.array([compose(turn, shift) for turn in _TURNS for shift in _SHIFTS])
"""Poses near a view, in its frame: half of an image has to overlap."""
_STEP, _MOST = 0.4, 6000
"""Metres between positions in free space. If there are more than this number, they are farther apart."""
_REACH, _HEIGHTS = 2.5, 0.5
"""Metres sideways, and up and down, by which positions are away from a viewpoint."""
_FREE = 0.25
"""Metres between a position and the nearest surface."""
_CONE = float(np.cos(np.radians(12)))
_SEPARATE = float(np.cos(np.radians(25)))
_SHARE = 0.04
"""Minimum fraction of the normals that makes a main direction."""
_UPRIGHT = 0.5
"""Minimum cosine of the angle between the image's upward direction and that of the map's views."""
_SAMPLES, _GLANCE = 200, 40
"""Points that poses are ranked by, and by how many first."""
_BEST = 400
"""Poses that are moved and ranked by all of these points."""
_NEARBY: Array = 0.15 * np.array(list(product((-1, 0, 1), repeat=3)))
"""Metres (27, 3) by which they are moved."""
_CLOSE = 0.25
"""Metres. Larger distances are alike then."""
_IN_SURFACE, _WEIGHT = 0.15, 0.25
"""Metres from the surface at which free space is not free, and the weight of that."""


class DepthStarts:
    """The starting poses of a map."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface

    def likely(self, view: DepthView, count: int) -> list[Array]:
        """The `count` best starts for a depth image, none near another, the likeliest first.

        All are ranked by few points; the best are moved to the best position nearby, and ranked by more.
        """
        poses = np.concatenate([self._around_views, self._parallel(view)])
        poses = poses[np.argsort(self._cost(poses, view, _GLANCE, FAR))[:_BEST]]
        moved = np.repeat(poses[:, None], len(_NEARBY), axis=1)
        moved[:, :, :3, 3] += _NEARBY
        costs = self._cost(moved.reshape(-1, 4, 4), view, _GLANCE, _CLOSE).reshape(len(poses), -1)
        poses = moved[np.arange(len(poses)), costs.argmin(axis=1)]
        order = np.argsort(self._cost(poses, view, _SAMPLES, _CLOSE))
        return _apart(poses[order], count)

    def _cost(self, poses: Array, view: DepthView, samples: int, far: float) -> NDArray[np.float32]:
        """Mean distance (P,) of the depth's points from the surface, each at most `far` metres, and more if
        the rays to them cross it."""
        points = view.points[view.few[:samples]].astype(np.float32)
        costs = [np.empty(0, np.float32)]
        for some in np.array_split(poses.astype(np.float32), len(poses) // 2000 + 1):
            turned = points @ some[:, :3, :3].swapaxes(1, 2)
            position = some[:, None, :3, 3]
            distance = self._surface.field.at(turned + position)
            cost = np.minimum(distance, np.float32(far)).mean(axis=1)
            for fraction in (0.5, 0.8):
                on_ray = self._surface.field.at(np.float32(fraction) * turned + position)
                cost += (on_ray < _IN_SURFACE).mean(axis=1) * np.float32(_WEIGHT * far)
            costs.append(cost)
        return np.concatenate(costs)

    def _parallel(self, view: DepthView) -> Array:
        """Poses (P, 4, 4) in free space, such that main directions of depth and map are parallel."""
        rotations = parallel_rotations(main_directions(view.normals, signed=True), self._directions)
        rotations = [turn for turn in rotations if -turn[:, 1] @ self._up > _UPRIGHT]
        poses = np.tile(np.eye(4), (len(rotations), len(self._positions), 1, 1))
        for pose, turn in zip(poses, rotations, strict=True):
            pose[:, :3, :3], pose[:, :3, 3] = turn, self._positions
        return poses.reshape(-1, 4, 4)

    @cached_property
    def _views(self) -> Array:
        poses = self._surface.viewpoints
        return np.asarray(poses[select_keyframes(poses)])

    @cached_property
    def _around_views(self) -> Array:
        return np.asarray((self._views[:, None] @ _AROUND).reshape(-1, 4, 4))

    @cached_property
    def _directions(self) -> Array:
        return main_directions(self._surface.coarse.normals, signed=False)

    @cached_property
    def _up(self) -> Array:
        mean = -self._views[:, :3, 1].mean(axis=0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9))

    @cached_property
    def _positions(self) -> Array:
        """(P, 3) in free space around the viewpoints."""
        step, eyes = _STEP, self._views[:, :3, 3]
        # so that an ellipsoid is a ball
        stretch = np.eye(3) + (_REACH / _HEIGHTS - 1) * np.outer(self._up, self._up)
        tree = cKDTree(eyes @ stretch)
        while True:
            low, high = eyes.min(axis=0) - _REACH, eyes.max(axis=0) + _REACH
            axes = [np.arange(a, b, step) for a, b in zip(low, high, strict=True)]
            grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
            near = np.isfinite(tree.query(grid @ stretch, distance_upper_bound=_REACH)[0])
            grid = grid[near & (self._surface.field.at(grid.astype(np.float32)) > _FREE)]
            if len(grid) <= _MOST:
                return np.asarray(grid)
            step *= 1.25


def main_directions(normals: Array, *, signed: bool, most: int = 4) -> Array:
    """The unit directions (D, 3) of the largest parts of unit normals (N, 3), at least 25 degrees apart.
    If not `signed`, opposite normals are alike."""
    rng = np.random.default_rng(0)
    some = normals[rng.permutation(len(normals))[:1500]]
    cosines = some @ _SPHERE.T
    density = ((cosines if signed else np.abs(cosines)) > _CONE).mean(axis=0)
    directions = list[Array]()
    for index in np.argsort(-density):
        if density[index] < _SHARE or len(directions) == most:
            break
        direction = _SPHERE[index]
        for _ in range(3):
            cosine = some @ direction
            near = (cosine if signed else np.abs(cosine)) > _CONE
            direction = (some[near] * np.sign(cosine[near])[:, None]).mean(axis=0)
            direction /= np.linalg.norm(direction)
        between = [direction @ other if signed else abs(direction @ other) for other in directions]
        if max(between, default=-1.0) < _SEPARATE:
            directions.append(direction)
    return np.array(directions).reshape(-1, 3)


def parallel_rotations(seen: Array, mapped: Array) -> list[Array]:
    """Rotations map_from_camera that make two of the `seen` directions (D, 3) parallel to two of the `mapped`
    ones (M, 3), which have either sign. None is near another."""
    signed = np.concatenate([mapped, -mapped])
    rotations = list[Array]()
    for a, b in product(range(len(seen)), repeat=2):
        if a >= b:
            continue
        for i, j in permutations(range(len(signed)), 2):
            cosine = float(signed[i] @ signed[j])
            if abs(cosine) > 0.9 or abs(cosine - seen[a] @ seen[b]) > 0.2:
                continue
            turn = Rotation.align_vectors(signed[[i, j]], seen[[a, b]])[0].as_matrix()
            if all((turn * other).sum() < 1 + 2 * _CONE for other in rotations):
                rotations.append(turn)
    return rotations


def _apart(poses: Array, count: int) -> list[Array]:
    """The first `count` poses (P, 4, 4) of which none is near another."""
    left, apart = poses, list[Array]()
    while len(left) and len(apart) < count:
        apart.append(left[0])
        traces = np.einsum("pij,ij->p", left[:, :3, :3], left[0, :3, :3])
        distances = np.linalg.norm(left[:, :3, 3] - left[0, :3, 3], axis=1)
        left = left[(distances > 0.25) | (traces < 1 + 2 * _CONE)]
    return apart


def _fibonacci(count: int) -> Array:
    """(count, 3) unit vectors, evenly spread."""
    index = np.arange(count) + 0.5
    polar, around = np.arccos(1 - 2 * index / count), np.pi * (1 + 5**0.5) * index
    return np.stack([np.cos(around) * np.sin(polar), np.sin(around) * np.sin(polar), np.cos(polar)], axis=1)


_SPHERE = _fibonacci(400)
