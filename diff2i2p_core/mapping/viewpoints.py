"""Viewpoints for a cloud without a trajectory: where a camera could be, looking all around."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import compose
from diff2i2p_core.geometry.voxels import voxel_means
from diff2i2p_core.mapping.occupancy import Occupancy
from diff2i2p_core.typing import Array

AXES = ("x", "y", "z", "-x", "-y", "-z")
CLEARANCE = 0.35
"""Metres between a camera and the nearest point."""
EYE_HEIGHT = 1.2
"""Metres over the floor; a little more or less where something is in the way."""
_FAR = 40.0
"""Metres within which an enclosed place sees a wall."""
_MIN_ENCLOSED = 0.55
"""Part of the directions, and of their opposites, in which a place inside a building sees a wall."""
_MIN_AHEAD = 0.8
"""Metres before a camera, or its view shows a piece of bare wall."""
_MAX_APART = 2.0
"""Metres, at most, from a view that was left out to one that stands for it."""
_RAYS = 24


def axis_vector(axis: str) -> Array:
    """(3,) the unit vector of one of `AXES`; InputError for another text."""
    if axis not in AXES:
        raise InputError(f"up '{axis}': not an axis; give one of {', '.join(AXES)}, or auto")
    vector = np.zeros(3)
    vector["xyz".index(axis[-1])] = -1.0 if axis.startswith("-") else 1.0
    return vector


def rotation_from_z_up(up: str | Array) -> Array:
    """(3, 3) rotation of z-up coordinates into a map where `up` is one of `AXES` or a unit vector (3,)."""
    z = axis_vector(up) if isinstance(up, str) else up
    x = np.roll(np.eye(3)[np.abs(z).argmax()], 1)
    x = x - (x @ z) * z
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1)


def sample_viewpoints(
    points: NDArray[np.float32],
    *,
    up: str | Array = "z",
    spacing: float = 1.25,
    yaw_step_deg: float = 45.0,
    pitch_deg: float = 10.0,
) -> Array:
    """Camera poses (V, 4, 4), map_from_camera, in the free space of a map (N, 3) with any number of floors.

    Positions are at eye height over a floor, `CLEARANCE` from every point and enclosed by walls; none is
    within `spacing` metres of another that it sees, and no free place is farther from one that it sees. At
    each the camera looks along every `yaw_step_deg`, down by `pitch_deg`, but not at a wall right before it,
    and not where a view along the same direction from near by shows nearly the same. Time and memory grow
    with the map's surface.
    """
    map_from_level = rotation_from_z_up(up)
    level = np.asarray(voxel_means(points, 0.1), np.float64) @ map_from_level
    occupancy = Occupancy(level)
    positions = _spread(_over_floors(level, occupancy.floors()), occupancy, spacing)
    yaws = np.arange(0, 2 * math.pi - 1e-6, math.radians(yaw_step_deg))
    if len(positions):
        sight = _sight(positions, occupancy)
        kept = _inside(sight < _FAR)
        positions, ahead = positions[kept], _ahead(sight[kept], yaws)
        chosen = _distinct(positions, ahead, occupancy, spacing)
    else:  # a cloud seen from one side only: stand back from its middle
        middle = level.mean(axis=0)
        reach = max(1.0, float(np.linalg.norm(level[:, :2] - middle[:2], axis=1).max()))
        around = [reach * np.array([np.cos(a), np.sin(a), 0]) for a in np.arange(0, 6, 1.57)]
        positions = np.array([middle, *(middle + step for step in around)])
        chosen = np.ones((len(positions), len(yaws)), bool)
    map_from_level4 = compose(map_from_level, [0, 0, 0])
    return np.array(
        [
            map_from_level4 @ looking(positions[i], yaws[j], math.radians(pitch_deg))
            for i, j in np.argwhere(chosen)
        ]
    )


def _over_floors(level: Array, floors: Array) -> Array:
    """Places (P, 3) with clearance at about eye height over floors (F, 3); the roomiest ones first."""
    tree = cKDTree(level)
    # points were averaged in cells of 10 cm: some were nearer
    needed = CLEARANCE + 0.05
    places, room = np.empty((0, 3)), np.empty(0)
    for step in (0.0, 0.3, -0.3, 0.6):
        tried = floors + np.array([0, 0, EYE_HEIGHT + step])
        distance, _ = tree.query(tried, distance_upper_bound=1.0)
        free = distance > needed
        places, room = np.concatenate([places, tried[free]]), np.concatenate([room, distance[free]])
        floors = floors[~free]
    order = np.lexsort((places[:, 1], places[:, 0], places[:, 2].round(1), -np.minimum(room, 1.0).round(1)))
    return places[order]


def _spread(places: Array, occupancy: Occupancy, spacing: float) -> Array:
    """Some of the places (P, 3), the first ones before others, by the rule of `sample_viewpoints`."""
    if len(places) == 0:
        return places
    tree, taken, chosen = cKDTree(places), np.zeros(len(places), bool), list[int]()
    for index, place in enumerate(places):
        if not taken[index]:
            chosen.append(index)
            near = np.array(tree.query_ball_point(place, spacing))
            near = near[~taken[near]]
            steps = places[near] - place
            length = np.maximum(np.linalg.norm(steps, axis=1), 1e-9)
            free = occupancy.sight(
                np.repeat(place[None], len(near), axis=0), steps / length[:, None], spacing
            )
            taken[near[free >= length]] = True
    return places[chosen]


def _sight(positions: Array, occupancy: Occupancy) -> Array:
    """(P, `_RAYS`) metres to the first surface around each position, level or a little up; at most `_FAR`."""
    angles = np.arange(_RAYS) * 2 * math.pi / _RAYS
    nearest = np.full((len(positions), _RAYS), _FAR)
    for pitch in (0.0, math.radians(8)):
        flat = math.cos(pitch)
        rays = np.stack(
            [flat * np.cos(angles), flat * np.sin(angles), np.full(_RAYS, math.sin(pitch))], axis=1
        )
        starts = np.repeat(positions, _RAYS, axis=0)
        found = occupancy.sight(starts, np.tile(rays, (len(positions), 1)), _FAR)
        nearest = np.minimum(nearest, found.reshape(nearest.shape))
    return nearest


def _inside(hit: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(P,) which places are inside a building, of the directions (P, `_RAYS`) in which they see a wall.

    Inside, most directions and their opposites end at walls; in the corner between two houses half of them.
    A map without such places was seen from one side: there a good part of the walls seen anywhere will do.
    """
    enclosed = (hit & np.roll(hit, _RAYS // 2, axis=1)).mean(axis=1)
    if (inside := enclosed > _MIN_ENCLOSED).any():
        return np.asarray(inside)
    seen = hit.mean(axis=1)
    return np.asarray(seen >= 0.5 * seen.max())


def _ahead(sight: Array, yaws: Array) -> Array:
    """(P, Y) median distance that is seen within 30 deg of each yaw."""
    columns = np.round(yaws[:, None] / (2 * math.pi / _RAYS) + np.arange(-2, 3)).astype(int) % _RAYS
    return np.asarray(np.median(sight[:, columns], axis=2))


def _distinct(positions: Array, ahead: Array, occupancy: Occupancy, spacing: float) -> NDArray[np.bool_]:
    """(P, Y) the views to take: a wall far ahead looks the same from half that distance beside."""
    tree, chosen = cKDTree(positions), np.zeros(ahead.shape, bool)
    reach = np.clip(0.5 * ahead, spacing, _MAX_APART)
    # with no wall ahead of it in any direction, a place keeps its longest look
    open_to = (ahead > _MIN_AHEAD) | (ahead == ahead.max(axis=1, keepdims=True))
    for index, near in enumerate(tree.query_ball_point(positions, _MAX_APART)):
        before = np.array([other for other in near if other < index], int)
        steps = positions[before] - positions[index]
        length = np.linalg.norm(steps, axis=1)
        starts = np.repeat(positions[index][None], len(before), axis=0)
        seen = occupancy.sight(starts, steps / length[:, None], _MAX_APART) >= length
        alike = chosen[before] & (length[:, None] < np.minimum(reach[before], reach[index])) & seen[:, None]
        chosen[index] = open_to[index] & ~alike.any(axis=0)
    return chosen


def looking(position: Array, yaw: float, pitch_down: float) -> Array:
    """(4, 4) z-up frame from the optical frame at `position` that looks along `yaw`, down by `pitch_down`."""
    forward = np.array(
        [math.cos(yaw) * math.cos(pitch_down), math.sin(yaw) * math.cos(pitch_down), -math.sin(pitch_down)]
    )
    right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
    return compose(np.stack([right, np.cross(forward, right), forward], axis=1), position)
