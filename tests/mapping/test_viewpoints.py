from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import is_rigid
from diff2i2p_core.mapping.viewpoints import CLEARANCE, looking, rotation_from_z_up, sample_viewpoints


def test_a_camera_looks_where_it_is_told() -> None:
    pose = looking(np.array([1.0, 2, 3]), np.pi / 2, 0.0)  # along +y
    np.testing.assert_allclose(pose @ [0, 0, 1, 1], [1, 3, 3, 1], atol=1e-12)
    np.testing.assert_allclose(pose @ [1, 0, 0, 1], [2, 2, 3, 1], atol=1e-12)  # right is +x
    np.testing.assert_allclose(pose @ [0, 1, 0, 1], [1, 2, 2, 1], atol=1e-12)  # down is -z
    assert looking(np.zeros(3), 0.0, 0.5)[2, 2] < 0


@pytest.mark.parametrize("up", ["x", "y", "z", "-x", "-y", "-z"])
def test_viewpoints_are_in_the_rooms_free_space(room_cloud: PointCloud, up: str) -> None:
    map_from_level = rotation_from_z_up(up)
    assert np.isclose(np.linalg.det(map_from_level), 1)
    points = (room_cloud.points @ map_from_level.T).astype(np.float32)
    views = sample_viewpoints(points, up=up)
    assert len(views) >= 30 and all(is_rigid(view) for view in views)
    level = views[:, :3, 3] @ map_from_level
    assert (level > [0, 0, 0]).all() and (level < [4, 5, 2.5]).all()
    assert cKDTree(points).query(views[:, :3, 3])[0].min() > CLEARANCE
    # cameras stand upright: the image's down axis points against `up`
    assert (views[:, :3, 1] @ map_from_level[:, 2] < -0.9).all()


def test_a_flat_patch_still_gets_views() -> None:
    patch = np.random.default_rng(0).uniform([0, 0, 0], [1, 0.01, 1], (500, 3)).astype(np.float32)
    assert len(sample_viewpoints(patch)) >= 8
