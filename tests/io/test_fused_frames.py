from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import compose
from diff2i2p_core.io.fused_frames import fuse_frames
from diff2i2p_core.io.rgbd_folder import PosedFrames


@pytest.fixture
def flat_wall(tmp_path: Path) -> PosedFrames:
    """Four views of a wall at z = 2, half red and half blue, from cameras moved sideways."""
    k = np.array([[100, 0, 79.5], [0, 100, 59.5], [0, 0, 1]])
    np.savetxt(tmp_path / "camera-intrinsics.txt", k)
    for n in range(4):
        x = 0.1 * n
        u = np.arange(160)
        red = (u - 79.5) * 2 / 100 + x < 0
        image = np.zeros((120, 160, 3), np.uint8)
        image[:, red] = (0, 0, 255)
        image[:, ~red] = (255, 0, 0)
        cv2.imwrite(str(tmp_path / f"frame-{n:06d}.color.png"), image)
        cv2.imwrite(str(tmp_path / f"frame-{n:06d}.depth.png"), np.full((120, 160), 2000, np.uint16))
        np.savetxt(tmp_path / f"frame-{n:06d}.pose.txt", compose(np.eye(3), [x, 0, 0]))
    return PosedFrames(tmp_path)


def test_a_fused_wall_is_where_it_is_and_has_its_colours(flat_wall: PosedFrames) -> None:
    steps: list[tuple[str, int, int]] = []
    cloud = fuse_frames(flat_wall, spacing=0.05, stride=1, progress=lambda *at: steps.append(at))
    points, colors = cloud.points, cloud.colors
    assert colors is not None
    np.testing.assert_allclose(points[:, 2], 2.0, atol=1e-5)
    assert (colors[points[:, 0] < -0.05] == (255, 0, 0)).all()
    assert (colors[points[:, 0] > 0.05] == (0, 0, 255)).all()
    assert steps[-1] == ("fusing frames", 4, 4)


def test_voxels_seen_once_are_dropped(flat_wall: PosedFrames) -> None:
    once = fuse_frames(flat_wall, spacing=0.05, stride=1, min_views=1).points
    twice = fuse_frames(flat_wall, spacing=0.05, stride=1, min_views=2).points
    assert twice[:, 0].min() > once[:, 0].min() - 1e-6 and twice[:, 0].max() < once[:, 0].max() - 0.05


def test_missing_frame_is_named(flat_wall: PosedFrames) -> None:
    with pytest.raises(InputError, match="has no frame 000009"):
        fuse_frames(flat_wall, [0, 9])
