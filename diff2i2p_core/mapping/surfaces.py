"""The surface of a map in pieces of a few decimetres, each with the side from which it is seen."""

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
"""Size of a piece in metres."""
_DETAIL = (0.25, 4.0)
"""Minimum and maximum of the factor by which contrast changes the weight of a piece."""
_MIN_AREA = 0.04
"""Square metres; smaller pieces are left out."""
_CLEAR = np.array([0.14, 0.25, 0.36, 0.47])
"""Distances in front of a piece, in metres, at which no point may be within `_CLEAR_RADIUS`."""
_CLEAR_RADIUS = 0.09
_FLAT = 0.95
"""Minimum length of the mean normal of a flat piece. Only a flat piece can be the face of a wall."""
_BEFORE = (0.7, 1.2, 1.8)
"""Metres in front of a piece: positions where its surroundings are measured. A cabinet may be in the way."""
_AROUND = 6.0
"""Length of the rays that measure the surroundings, in metres."""
_RAYS = 32
_CEILING = 0.7
"""A surface faces down if the downward component of its normal is at least this."""
_OUTSIDE = 0.65
"""A side is the outside if its rays hit less than this fraction of what the other side's rays hit."""


@dataclass(frozen=True)
class Surface:
    """Pieces of surface, z up. A piece that can be seen from both sides is listed twice."""

    middles: Array
    """(P, 3)."""
    normals: Array
    """(P, 3), unit vectors towards the side from which the piece is seen."""
    weights: Array
    """(P,) square metres, scaled up for surface with much detail and down for plain surface."""

    def __len__(self) -> int:
        return len(self.middles)

    @classmethod
    def of(cls, sparse: Array, contrast: Array, spacing: float, occupancy: Occupancy) -> Surface:
        """From a cloud (N, 3) with one point in each voxel of `spacing` metres, and the contrast (N,) there.

        A side counts if a camera could be on it: the space is free and not outside the building, where
        fewer rays hit a surface. Surface that faces down is left out, as few cameras look at ceilings.
        """
        tree = cKDTree(sparse)
        middles, sums, contrasts, counts = _pieces(sparse, surface_normals(tree, sparse)[0], contrast)
        areas = counts * spacing**2
        large = areas >= _MIN_AREA
        middles, sums, areas, contrasts = middles[large], sums[large], areas[large], contrasts[large]
        lengths = np.linalg.norm(sums, axis=1)
        normals, flat = sums / lengths[:, None], lengths > _FLAT * counts[large]
        usual = float(contrasts @ areas) / max(float(areas.sum()), _MIN_AREA)
        weights = areas * np.clip(contrasts / max(usual, 1e-6), *_DETAIL)
        sides = (normals, -normals)
        around = [
            np.max([_enclosed(middles + reach * side, occupancy) for reach in _BEFORE], axis=0)
            for side in sides
        ]
        front, back = (
            (side[:, 2] > -_CEILING)
            & (here > 0)
            & (~flat | (_open(tree, middles, side) & (here >= _OUTSIDE * there)))
            for side, here, there in zip(sides, around, reversed(around), strict=True)
        )
        return cls(
            np.concatenate([middles[front], middles[back]]),
            np.concatenate([normals[front], -normals[back]]),
            np.concatenate([weights[front], weights[back]]),
        )


def _pieces(points: Array, normals: Array, contrast: Array) -> tuple[Array, Array, Array, Array]:
    """Mean (P, 3), summed normal (P, 3), contrast (P,), count (P,) of points in a cell that face alike."""
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
    """(P,) whether the space right in front of the pieces is empty: no other face of a wall, for example."""
    before = middles[:, None] + _CLEAR[:, None] * normals[:, None]
    distance, _ = tree.query(before, distance_upper_bound=_CLEAR_RADIUS)
    return np.asarray(np.isinf(distance).all(axis=1))


def _enclosed(positions: Array, occupancy: Occupancy) -> NDArray[np.float64]:
    """(P,) fraction of the rays from positions (P, 3) that hit a surface; 0 if a position is not free."""
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
