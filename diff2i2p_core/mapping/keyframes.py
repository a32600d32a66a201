"""Choosing the views that cover a set of camera poses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

_MANY = 4000
"""Poses; of longer trajectories halts are left out first, since all poses of a halt are near all others."""


def select_keyframes(
    map_from_cameras: Sequence[NDArray[np.float64]] | NDArray[np.float64],
    *,
    max_translation: float = 0.4,
    max_rotation_deg: float = 20.0,
) -> list[int]:
    """Indices, ascending, of poses such that every pose is near a chosen one (greedy set cover).

    Near: translation / `max_translation` (metres) and rotation / `max_rotation_deg`, taken together as a
    2-norm, are at most 1. Each step takes the pose that covers the most poses still uncovered. Of more than
    4000 poses, those within an eighth of the limits of the last one kept are not looked at.
    """
    poses = np.asarray(map_from_cameras, np.float64).reshape(-1, 4, 4)
    limits = max_translation, max_rotation_deg
    kept = np.arange(len(poses)) if len(poses) <= _MANY else _moving(poses, *(limit / 8 for limit in limits))
    rows, starts = _near(poses[kept], *limits)
    uncovered = np.ones(len(kept), bool)
    covers = np.diff(starts)
    chosen: list[int] = []
    while uncovered.any():
        best = int(np.argmax(covers))
        chosen.append(int(kept[best]))
        newly = [row for row in rows[starts[best] : starts[best + 1]] if uncovered[row]]
        uncovered[newly] = False
        for row in newly:  # nearness is mutual
            covers[rows[starts[row] : starts[row + 1]]] -= 1
    return sorted(chosen)


def _moving(poses: NDArray[np.float64], translation: float, rotation_deg: float) -> NDArray[np.int64]:
    """Indices of poses that moved or turned by so much since the last of them."""
    kept = [0]
    minimum = 1 + 2 * np.cos(np.radians(rotation_deg))  # trace of a rotation by that angle
    for index in range(1, len(poses)):
        last, pose = poses[kept[-1]], poses[index]
        step = pose[:3, 3] - last[:3, 3]
        if step @ step > translation**2 or (last[:3, :3] * pose[:3, :3]).sum() < minimum:
            kept.append(index)
    return np.array(kept)


def _near(
    poses: NDArray[np.float64], max_translation: float, max_rotation_deg: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each pose the rows of those near it, itself included, one after another; and their starts."""
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
