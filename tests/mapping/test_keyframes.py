from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from diff2i2p_core.geometry.se3 import compose
from diff2i2p_core.mapping.keyframes import select_keyframes


def test_every_pose_is_near_a_keyframe_along_a_line() -> None:
    poses = [compose(np.eye(3), [0.1 * i, 0, 0]) for i in range(41)]
    chosen = select_keyframes(poses, max_translation=0.5, max_rotation_deg=20)
    assert 4 <= len(chosen) <= 6
    for i in range(41):
        assert min(abs(i - c) for c in chosen) <= 5


def test_rotation_counts() -> None:
    poses = [
        compose(Rotation.from_euler("y", 30 * i, degrees=True).as_matrix(), [0, 0, 0]) for i in range(12)
    ]
    assert select_keyframes(poses, max_rotation_deg=20) == list(range(12))
    assert len(select_keyframes(poses, max_rotation_deg=31)) <= 5


def test_a_long_halt_does_not_count() -> None:
    walk = [compose(np.eye(3), [0.01 * i, 0, 0]) for i in range(1000)]
    poses = np.array([walk[0]] * 3000 + walk + [walk[-1]] * 3000)
    chosen = select_keyframes(poses)
    assert len(chosen) < 25
    covered = np.abs(poses[:, 0, 3, None] - poses[chosen][:, 0, 3]).min(axis=1)
    assert covered.max() <= 0.4 + 0.06
