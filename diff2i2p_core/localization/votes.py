"""How many of the views that were matched with an image lead to a pose.

Where features are little distinct, a single view often leads to a wrong pose, each to another one. The views
of the right place lead to nearly the same one.
"""

from __future__ import annotations

import numpy as np

from diff2i2p_core.typing import Array

_METRES, _DEGREES = 0.4, 12.0
"""A pose this far away (metres, degrees) gives 0.6 of its vote."""


class Votes:
    """The poses of an image's views, collected while these are matched."""

    def __init__(self) -> None:
        self._poses, self._strengths = list[Array](), list[float]()

    def add(self, pose: Array, strength: float) -> None:
        """Count the pose (4, 4) of another view."""
        self._poses.append(pose)
        self._strengths.append(strength)

    def for_pose(self, pose: Array) -> float:
        """The sum of the strengths of the poses, each less the farther away it is."""
        if not self._poses:
            return 0.0
        others = np.array(self._poses)
        metres = np.linalg.norm(others[:, :3, 3] - pose[:3, 3], axis=1)
        cosines = (np.einsum("nij,ij->n", others[:, :3, :3], pose[:3, :3]) - 1) / 2
        degrees = np.degrees(np.arccos(cosines.clip(-1, 1)))
        near = np.exp(-0.5 * ((metres / _METRES) ** 2 + (degrees / _DEGREES) ** 2))
        return float(near @ self._strengths)
