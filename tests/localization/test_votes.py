"""The votes of an image's views for a pose."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from diff2i2p_core.geometry.se3 import compose
from diff2i2p_core.localization.votes import Votes
from diff2i2p_core.typing import Array


def pose(metres: float = 0.0, degrees: float = 0.0) -> Array:
    return compose(Rotation.from_euler("y", degrees, degrees=True).as_matrix(), [metres, 0, 5])


def test_near_poses_vote_with_their_strength_and_far_ones_do_not() -> None:
    votes = Votes()
    assert votes.for_pose(pose()) == 0
    for metres, degrees, strength in (
        (0.0, 0.0, 30.0),
        (0.4, 0.0, 10.0),
        (0.0, 12.0, 10.0),
        (5.0, 0.0, 99.0),
    ):
        votes.add(pose(metres, degrees), strength)
    assert votes.for_pose(pose()) == pytest.approx(30 + 20 * np.exp(-0.5), rel=1e-6)
    assert votes.for_pose(pose(5.0)) == pytest.approx(99, rel=1e-6)
    votes.add(pose(0.0, 170.0), 50.0)
    assert votes.for_pose(pose()) == pytest.approx(30 + 20 * np.exp(-0.5), rel=1e-6)
