from __future__ import annotations

import numpy as np
import pytest

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import compose, invert
from diff2i2p_core.geometry.submaps import SubmapSettings, cut_submap, visible_points

CAMERA = Camera(640, 480, 525, 525, 319.5, 239.5)


def wall(z: float, half: float = 2.0, spacing: float = 0.05) -> np.ndarray:
    x, y = np.meshgrid(np.arange(-half, half, spacing), np.arange(-half, half, spacing))
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, z)], axis=1).astype(np.float32)


@pytest.mark.parametrize("distance", [0.5, 1.0, 2.0, 4.0])
def test_a_wall_hides_what_is_behind_it_and_itself_stays_whole(distance: float) -> None:
    front, behind = wall(distance, half=4.0), wall(distance + 0.4, half=4.0)
    seen = visible_points(np.concatenate([front, behind]), np.eye(4), CAMERA, margin=0.0)
    pixels, z = CAMERA.project(front)
    inside = CAMERA.contains(pixels, z)
    assert np.isin(np.flatnonzero(inside), seen).mean() > 0.99
    assert (seen >= len(front)).mean() < 0.01


def test_a_floor_at_a_grazing_angle_is_seen() -> None:
    floor = wall(0.0, half=5.0)[:, [0, 2, 1]] + np.array(
        [0, 1.2, 0], np.float32
    )  # 1.2 m under a level camera
    seen = visible_points(floor, np.eye(4), CAMERA, margin=0.0, max_depth=4.0)
    pixels, z = CAMERA.project(floor)
    inside = CAMERA.contains(pixels, z) & (z < 4.0)
    assert len(seen) / inside.sum() > 0.95


def test_frustum_depth_range_and_margin() -> None:
    points = np.array([[0, 0, 1], [0, 0, -1], [0, 0, 6], [0, 0, 0.05], [0.65, 0, 1], [1.5, 0, 1]], np.float32)
    assert visible_points(points, np.eye(4), CAMERA, margin=0.1).tolist() == [0, 4]
    assert visible_points(points, np.eye(4), CAMERA, margin=0.0).tolist() == [0]


def test_the_view_is_posed_in_the_map() -> None:
    map_from_view = compose(np.diag([-1.0, 1.0, -1.0]), [0, 0, 5])  # at z = 5 looking back
    cloud = PointCloud(wall(3.0), np.full((6400, 3), 9, np.uint8), np.full(6400, 7, np.uint8))
    seen = cut_submap(cloud, invert(map_from_view))
    assert len(seen) and seen.colors is not None and seen.intensity is not None
    np.testing.assert_allclose(seen.points[:, 2], 2.0, atol=1e-5)
    assert (seen.colors == 9).all() and (seen.intensity == 7).all()


def test_no_points_in_view() -> None:
    seen = cut_submap(PointCloud(wall(-3.0)), np.eye(4), SubmapSettings())
    assert seen.points.shape == (0, 3)
