"""Choosing the views that cover a set of camera poses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def select_keyframes(
    map_from_cameras: Sequence[NDArray[np.float64]] | NDArray[np.float64],
    *,
    max_translation: float = 0.4,
    max_rotation_deg: float = 20.0,
) -> list[int]:
    """Indices, ascending, of poses such that every pose is near a chosen one (greedy set cover).

    Near: translation / `max_translation` (metres) and rotation / `max_rotation_deg`, taken together as a
    2-norm, are at most 1. Each step takes the pose that covers the most poses still uncovered.
    """
    poses = np.asarray(map_from_cameras, np.float64).reshape(-1, 4, 4)
    rotations, translations = poses[:, :3, :3].reshape(-1, 9), poses[:, :3, 3]
    # trace(Ra^T Rb) = <Ra, Rb>: all pairs at once
    cosine = np.clip((rotations @ rotations.T - 1) / 2, -1, 1)
    angle = np.degrees(np.arccos(cosine)) / max_rotation_deg
    squared = (translations**2).sum(axis=1)
    distance2 = np.maximum(squared[:, None] + squared[None] - 2 * translations @ translations.T, 0)
    near = angle**2 + distance2 / max_translation**2 <= 1
    np.fill_diagonal(near, True)
    uncovered = np.ones(len(poses), bool)
    chosen: list[int] = []
    while uncovered.any():
        best = int(np.argmax((near & uncovered).sum(axis=1)))
        chosen.append(best)
        uncovered &= ~near[best]
    return sorted(chosen)
