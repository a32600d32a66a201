"""Viewpoints for a cloud without a trajectory: where a camera could be, looking all around."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from diff2i2p_core.geometry.se3 import compose

Array = NDArray[np.float64]

CLEARANCE = 0.35
"""Metres between a camera and the nearest point."""


def rotation_from_z_up(up: str) -> Array:
    """(3, 3) rotation of z-up coordinates into a map whose `up` axis is one of x, y, z, -x, -y, -z."""
    axis = "xyz".index(up[-1])
    z = np.zeros(3)
    z[axis] = -1.0 if up.startswith("-") else 1.0
    x = np.roll(np.abs(z), 1)
    return np.stack([x, np.cross(z, x), z], axis=1)


def sample_viewpoints(
    points: NDArray[np.float32],
    *,
    up: str = "z",
    spacing: float = 1.25,
    heights: tuple[float, ...] = (1.2,),
    yaw_step_deg: float = 45.0,
    pitch_deg: float = 10.0,
) -> Array:
    """Camera poses (V, 4, 4), map_from_camera, in the free space of a map (N, 3).

    Positions on a horizontal grid of `spacing` metres, where there is floor (or anything) below and no point
    within `CLEARANCE`; `heights` metres above that floor; every `yaw_step_deg`, looking down by `pitch_deg`.
    """
    map_from_level = rotation_from_z_up(up)
    level = np.asarray(points, np.float64) @ map_from_level
    tree, plan = cKDTree(level), cKDTree(level[:, :2])
    low, high = level[:, :2].min(axis=0), level[:, :2].max(axis=0)
    columns = [
        np.arange(a + spacing / 2, max(b, a + spacing), spacing) for a, b in zip(low, high, strict=True)
    ]
    ceiling = np.quantile(level[:, 2], 0.999)
    positions = []
    for x in columns[0]:
        for y in columns[1]:
            below = plan.query_ball_point([x, y], 0.6 * spacing)
            if len(below) < 5:
                continue
            floor = np.quantile(level[below, 2], 0.02)
            for height in heights:
                free = (np.array([x, y, floor + height + step]) for step in (0.0, 0.3, -0.3, 0.6))
                place = next((p for p in free if p[2] < ceiling and tree.query(p)[0] > CLEARANCE), None)
                if place is not None:
                    positions.append(place)
    if not positions:  # a cloud seen from one side only: stand back from its middle
        middle = level.mean(axis=0)
        reach = max(1.0, float(np.linalg.norm(level[:, :2] - middle[:2], axis=1).max()))
        positions = [
            middle,
            *(middle + reach * np.array([np.cos(a), np.sin(a), 0]) for a in np.arange(0, 6, 1.57)),
        ]
    map_from_level4 = compose(map_from_level, [0, 0, 0])
    yaws = np.arange(0, 2 * math.pi - 1e-6, math.radians(yaw_step_deg))
    return np.array(
        [map_from_level4 @ looking(p, yaw, math.radians(pitch_deg)) for p in positions for yaw in yaws]
    )


def looking(position: Array, yaw: float, pitch_down: float) -> Array:
    """(4, 4) z-up frame from the optical frame at `position` that looks along `yaw`, down by `pitch_down`."""
    forward = np.array(
        [math.cos(yaw) * math.cos(pitch_down), math.sin(yaw) * math.cos(pitch_down), -math.sin(pitch_down)]
    )
    right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
    return compose(np.stack([right, np.cross(forward, right), forward], axis=1), position)
