"""Interpolation between recorded poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from diff2i2p_core.geometry.se3 import compose
from diff2i2p_core.typing import Array


@dataclass(frozen=True)
class TimedPoses:
    """Transforms a_from_b over time."""

    stamps: NDArray[np.int64]
    """(N,) nanoseconds, ascending."""
    translations: Array
    """(N, 3)."""
    quaternions: Array
    """(N, 4) x, y, z, w."""

    @classmethod
    def of(cls, stamps: Sequence[int], poses: Sequence[Sequence[float]]) -> TimedPoses:
        """From stamps in any order and rows (x, y, z, qx, qy, qz, qw)."""
        order = np.argsort(np.asarray(stamps, np.int64), kind="stable")
        values = np.asarray(poses, np.float64).reshape(-1, 7)[order]
        return cls(np.asarray(stamps, np.int64)[order], values[:, :3], values[:, 3:])

    def at(self, stamp: int, max_gap: int) -> Array | None:
        """(4, 4) at a stamp, interpolated; None if the poses around it are more than `max_gap` ns apart."""
        after = int(np.searchsorted(self.stamps, stamp))
        if after < len(self.stamps) and self.stamps[after] == stamp:
            return compose(Rotation.from_quat(self.quaternions[after]).as_matrix(), self.translations[after])
        if after in (0, len(self.stamps)) or self.stamps[after] - self.stamps[after - 1] > max_gap:
            return None
        two = slice(after - 1, after + 1)
        before, next_one = self.stamps[two]
        part = float(stamp - before) / float(next_one - before)
        start, end = self.translations[two]
        turn = Slerp([0, 1], Rotation.from_quat(self.quaternions[two]))(part)
        return compose(turn.as_matrix(), (1 - part) * start + part * end)
