"""Samples viewpoints in a cloud without a trajectory: possible camera positions, looking all around."""

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
"""Minimum metres between a camera and the nearest point."""
EYE_HEIGHT = 1.2
"""Metres above the floor; slightly different if something is in the way."""
_FAR = 40.0
"""Metres within which an enclosed position sees a wall."""
_MIN_ENCLOSED = 0.55
"""Minimum fraction of directions in which a position inside sees a wall, also in the opposite direction."""
_MIN_AHEAD = 0.8
"""Minimum metres in front of a camera; nearer, its view shows only a piece of bare wall."""
_MAX_APART = 2.0
"""Maximum metres from a view that is left out to one that replaces it."""
_RAYS = 24


def axis_vector(axis: str) -> Array:
    """(3,) the unit vector of one of `AXES`. InputError for any other text."""
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

    Positions are at eye height above a floor, at least `CLEARANCE` from all points, and enclosed by walls. No
    two that see each other are within `spacing` metres, and each free position sees one within this distance.
    At each position, the camera looks in steps of `yaw_step_deg`, down by `pitch_deg`, but not at a wall
    directly in front of it, and not if a view in the same direction from nearby shows nearly the same. Time
    and memory grow with the map's surface.
    """
    map_from_level = rotation_from_z_up(up)
    level = np.asarray(voxel_means(points, 0.1), np.float64) @ map_from_level
    occupancy = Occupancy(level)
    positions = _spread(_over_floors(level, occupancy.floors()), occupancy, spacing)
    yaws = np.arange(0, 2 * math.pi - 1e-6, math.radians(yaw_step_deg))
    if len(positions):
        sight = _sight(positions, occupancy)
        enclosed = _inside(sight < _FAR)
        positions, ahead = positions[enclosed], _ahead(sight[enclosed], yaws)
        selected = _distinct(positions, ahead, occupancy, spacing)
    else:  # a cloud seen from one side only: move back from its middle
        middle = level.mean(axis=0)
        reach = max(1.0, float(np.linalg.norm(level[:, :2] - middle[:2], axis=1).max()))
        around = [reach * np.array([np.cos(a), np.sin(a), 0]) for a in np.arange(0, 6, 1.57)]
        positions = np.array([middle, *(middle + step for step in around)])
        selected = np.ones((len(positions), len(yaws)), bool)
    map_from_level4 = compose(map_from_level, [0, 0, 0])
    return np.array(
        [
            map_from_level4 @ looking(positions[i], yaws[j], math.radians(pitch_deg))
            for i, j in np.argwhere(selected)
        ]
    )


def _over_floors(level: Array, floors: Array) -> Array:
    """Positions (P, 3) with clearance at about eye height above floors (F, 3), most clearance first."""
    tree = cKDTree(level)
    # points were averaged in cells of 10 cm, so some were nearer
    needed = CLEARANCE + 0.05
    positions, room = np.empty((0, 3)), np.empty(0)
    for step in (0.0, 0.3, -0.3, 0.6):
        tried = floors + np.array([0, 0, EYE_HEIGHT + step])
        distance, _ = tree.query(tried, distance_upper_bound=1.0)
        free = distance > needed
        positions, room = np.concatenate([positions, tried[free]]), np.concatenate([room, distance[free]])
        floors = floors[~free]
    order = np.lexsort(
        (positions[:, 1], positions[:, 0], positions[:, 2].round(1), -np.minimum(room, 1.0).round(1))
    )
    return positions[order]


def _spread(positions: Array, occupancy: Occupancy, spacing: float) -> Array:
    """A selection of positions (P, 3), earlier ones first, by the rule of `sample_viewpoints`."""
    if len(positions) == 0:
        return positions
    tree, taken, selected = cKDTree(positions), np.zeros(len(positions), bool), list[int]()
    for index, position in enumerate(positions):
        if not taken[index]:
            selected.append(index)
            near = np.array(tree.query_ball_point(position, spacing))
            near = near[~taken[near]]
            steps = positions[near] - position
            length = np.maximum(np.linalg.norm(steps, axis=1), 1e-9)
            free = occupancy.sight(
                np.repeat(position[None], len(near), axis=0), steps / length[:, None], spacing
            )
            taken[near[free >= length]] = True
    return positions[selected]


def _sight(positions: Array, occupancy: Occupancy) -> Array:
    """(P, `_RAYS`) metres to the first surface around each position, level or slightly up; at most `_FAR`."""
    angles = np.arange(_RAYS) * 2 * math.pi / _RAYS
    nearest = np.full((len(positions), _RAYS), _FAR)
    for pitch in (0.0, math.radians(8)):
        flat = math.cos(pitch)
        rays = np.stack(
            [flat * np.cos(angles), flat * np.sin(angles), np.full(_RAYS, math.sin(pitch))], axis=1
        )
        starts = np.repeat(positions, _RAYS, axis=0)
        distances = occupancy.sight(starts, np.tile(rays, (len(positions), 1)), _FAR)
        nearest = np.minimum(nearest, distances.reshape(nearest.shape))
    return nearest


def _inside(hit: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(P,) which positions are inside a building, from the directions (P, `_RAYS`) in which they see a wall.

    Inside, most directions and their opposites end at walls; in the corner between two houses, half of them
    do. A map without such positions was seen from one side. There, positions that see a good part of the
    walls count.
    """
    enclosed = (hit & np.roll(hit, _RAYS // 2, axis=1)).mean(axis=1)
    if (inside := enclosed > _MIN_ENCLOSED).any():
        return np.asarray(inside)
    seen = hit.mean(axis=1)
    return np.asarray(seen >= 0.5 * seen.max())


def _ahead(sight: Array, yaws: Array) -> Array:
    """(P, Y) median visible distance within 30 deg of each yaw."""
    columns = np.round(yaws[:, None] / (2 * math.pi / _RAYS) + np.arange(-2, 3)).astype(int) % _RAYS
    return np.asarray(np.median(sight[:, columns], axis=2))


def _distinct(positions: Array, ahead: Array, occupancy: Occupancy, spacing: float) -> NDArray[np.bool_]:
    """(P, Y) the views to take: a distant wall looks the same from half its distance to the side."""
    tree, selected = cKDTree(positions), np.zeros(ahead.shape, bool)
    reach = np.clip(0.5 * ahead, spacing, _MAX_APART)
    # if all directions are blocked, a position keeps the one with the longest view
    open_to = (ahead > _MIN_AHEAD) | (ahead == ahead.max(axis=1, keepdims=True))
    for index, near in enumerate(tree.query_ball_point(positions, _MAX_APART)):
        before = np.array([other for other in near if other < index], int)
        steps = positions[before] - positions[index]
        length = np.linalg.norm(steps, axis=1)
        starts = np.repeat(positions[index][None], len(before), axis=0)
        seen = occupancy.sight(starts, steps / length[:, None], _MAX_APART) >= length
        alike = selected[before] & (length[:, None] < np.minimum(reach[before], reach[index])) & seen[:, None]
        selected[index] = open_to[index] & ~alike.any(axis=0)
    return selected


def looking(position: Array, yaw: float, pitch_down: float) -> Array:
    """(4, 4) z-up frame from optical frame, at `position`, looking along `yaw` and down by `pitch_down`."""
    forward = np.array(
        [math.cos(yaw) * math.cos(pitch_down), math.sin(yaw) * math.cos(pitch_down), -math.sin(pitch_down)]
    )
    right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
    return compose(np.stack([right, np.cross(forward, right), forward], axis=1), position)
