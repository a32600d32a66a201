"""Selects the views that cover a set of camera poses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

_MANY = 4000
"""Poses. Halts are removed from longer trajectories first, because their poses are all near each other."""


def select_keyframes(
    map_from_cameras: Sequence[NDArray[np.float64]] | NDArray[np.float64],
    *,
    max_translation: float = 0.4,
    max_rotation_deg: float = 20.0,
) -> list[int]:
    """Indices, ascending, of poses such that each pose is near a selected one (greedy set cover).

    Two poses are near if the 2-norm of translation / `max_translation` (metres) and rotation /
    `max_rotation_deg` is at most 1. Each step selects the pose that covers the most uncovered poses. If there
    are more than 4000 poses, those within an eighth of the limits of the previous one are ignored.
    """
    poses = np.asarray(map_from_cameras, np.float64).reshape(-1, 4, 4)
    limits = max_translation, max_rotation_deg
    candidates = (
        np.arange(len(poses)) if len(poses) <= _MANY else _moving(poses, *(limit / 8 for limit in limits))
    )
    rows, starts = _near(poses[candidates], *limits)
    uncovered = np.ones(len(candidates), bool)
    covers = np.diff(starts)
    selected: list[int] = []
    while uncovered.any():
        best = int(np.argmax(covers))
        selected.append(int(candidates[best]))
        newly = [row for row in rows[starts[best] : starts[best + 1]] if uncovered[row]]
        uncovered[newly] = False
        for row in newly:  # nearness is symmetric
            covers[rows[starts[row] : starts[row + 1]]] -= 1
    return sorted(selected)


def _moving(poses: NDArray[np.float64], translation: float, rotation_deg: float) -> NDArray[np.int64]:
    """Indices of poses that have moved or turned by this much since the previous one."""
    candidates = [0]
    minimum = 1 + 2 * np.cos(np.radians(rotation_deg))  # trace of a rotation by that angle
    for index in range(1, len(poses)):
        last, pose = poses[candidates[-1]], poses[index]
        step = pose[:3, 3] - last[:3, 3]
        if step @ step > translation**2 or (last[:3, :3] * pose[:3, :3]).sum() < minimum:
            candidates.append(index)
    return np.array(candidates)


def _near(
    poses: NDArray[np.float64], max_translation: float, max_rotation_deg: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the poses near each pose, including itself, in one array, and where each pose's start."""
    rotations, translations = poses[:, :3, :3].reshape(-1, 9), poses[:, :3, 3]
    tree, near = cKDTree(translations), []
    for index, around in enumerate(tree.query_ball_point(translations, max_translation, return_sorted=True)):
        rows = np.array(around)
        # trace(Ra^T Rb) = <Ra, Rb>
        cosine = np.clip((rotations[rows] @ rotations[index] - 1) / 2, -1, 1)
        angle = np.degrees(np.arccos(cosine)) / max_rotation_deg
        distance2 = ((translations[rows] - translations[index]) ** 2).sum(axis=1)
        near.append(rows[(angle**2 + distance2 / max_translation**2 <= 1) | (rows == index)])
    return np.concatenate(near), np.r_[0, np.cumsum([len(rows) for rows in near])]
