"""The surface of a map in pieces of some decimetres, each with the side that it is seen from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from diff2i2p_core.geometry.voxels import sum_by_key, voxel_keys
from diff2i2p_core.mapping.normals import surface_normals
from diff2i2p_core.mapping.occupancy import Occupancy
from diff2i2p_core.typing import Array

PIECE = 0.4
"""Metres."""
_DETAIL = (0.25, 4.0)
"""How much less or more than its area a piece counts, by its contrast."""
_MIN_AREA = 0.04
"""Square metres; smaller ones are left out."""
_CLEAR = np.array([0.14, 0.25, 0.36, 0.47])
"""Metres before a piece where no point may be within `_CLEAR_RADIUS`."""
_CLEAR_RADIUS = 0.09
_FLAT = 0.95
"""Length of the mean normal of flat pieces: only those are faces of walls."""
_BEFORE = (0.7, 1.2, 1.8)
"""Metres before a piece where it is asked how enclosed the place is; a cabinet may be in the way."""
_AROUND = 6.0
"""Metres within which an enclosed place sees a surface."""
_RAYS = 32
_CEILING = 0.7
"""Part of the normal that points down, from which on surface faces down."""
_OUTSIDE = 0.65
"""A side from which fewer than this part of the other side's rays meet a surface is the outside."""


@dataclass(frozen=True)
class Surface:
    """Pieces of surface, z up. One that may be seen from both sides is there twice."""

    middles: Array
    """(P, 3)."""
    normals: Array
    """(P, 3), unit vectors to the side that it is seen from."""
    weights: Array
    """(P,) square metres, more for surface with much detail: as much in all as without colours."""

    def __len__(self) -> int:
        return len(self.middles)

    @classmethod
    def of(cls, sparse: Array, contrast: Array, spacing: float, occupancy: Occupancy) -> Surface:
        """Of a cloud (N, 3) with one point in each voxel of `spacing` metres, and the contrast (N,) in it.

        Seen are the sides on which a camera could be: free, and not outside, where less is around. What
        faces down is left out: few cameras look at ceilings.
        """
        tree = cKDTree(sparse)
        middles, sums, contrasts, counts = _pieces(sparse, surface_normals(tree, sparse)[0], contrast)
        areas = counts * spacing**2
        kept = areas >= _MIN_AREA
        middles, sums, areas, contrasts = middles[kept], sums[kept], areas[kept], contrasts[kept]
        lengths = np.linalg.norm(sums, axis=1)
        normals, flat = sums / lengths[:, None], lengths > _FLAT * counts[kept]
        usual = float(contrasts @ areas) / max(float(areas.sum()), _MIN_AREA)
        weights = areas * np.clip(contrasts / max(usual, 1e-6), *_DETAIL)
        ways = (normals, -normals)
        around = [
            np.max([_enclosed(middles + reach * way, occupancy) for reach in _BEFORE], axis=0) for way in ways
        ]
        front, back = (
            (way[:, 2] > -_CEILING)
            & (here > 0)
            & (~flat | (_open(tree, middles, way) & (here >= _OUTSIDE * there)))
            for way, here, there in zip(ways, around, reversed(around), strict=True)
        )
        return cls(
            np.concatenate([middles[front], middles[back]]),
            np.concatenate([normals[front], -normals[back]]),
            np.concatenate([weights[front], weights[back]]),
        )


def _pieces(points: Array, normals: Array, contrast: Array) -> tuple[Array, Array, Array, Array]:
    """Of points in a cell that face alike: mean (P, 3), sum of normals (P, 3), contrast (P,), count (P,)."""
    facing = np.abs(normals).argmax(axis=1)
    signs = np.sign(normals[np.arange(len(normals)), facing])
    rows = np.concatenate(
        [points, normals * signs[:, None], contrast[:, None], np.ones((len(points), 1))], axis=1
    )
    sums = np.concatenate(
        [
            sum_by_key(voxel_keys(points[facing == axis], PIECE), rows[facing == axis])[1]
            for axis in range(3)
            if (facing == axis).any()
        ]
    )
    return sums[:, :3] / sums[:, 7:], sums[:, 3:6], sums[:, 6] / sums[:, 7], sums[:, 7]


def _open(tree: cKDTree[None], middles: Array, normals: Array) -> NDArray[np.bool_]:
    """(P,) whether nothing is right before pieces, such as the other face of a wall."""
    before = middles[:, None] + _CLEAR[:, None] * normals[:, None]
    distance, _ = tree.query(before, distance_upper_bound=_CLEAR_RADIUS)
    return np.asarray(np.isinf(distance).all(axis=1))


def _enclosed(positions: Array, occupancy: Occupancy) -> NDArray[np.float64]:
    """(P,) the part of the directions in which positions (P, 3) see a surface; 0 if they are not free."""
    directions = _sphere(_RAYS)
    count = len(positions)
    starts = np.repeat(positions, _RAYS, axis=0)
    sight = occupancy.sight(starts, np.tile(directions, (count, 1)), _AROUND).reshape(count, _RAYS)
    hit = (sight < _AROUND).mean(axis=1)
    return np.where(occupancy.holds(positions), 0.0, hit)


def _sphere(count: int) -> Array:
    """(count, 3) unit vectors spread evenly over all directions."""
    turns = np.arange(count) * math.pi * (3 - math.sqrt(5))
    z = 1 - (2 * np.arange(count) + 1) / count
    flat = np.sqrt(1 - z**2)
    return np.stack([flat * np.cos(turns), flat * np.sin(turns), z], axis=1)
