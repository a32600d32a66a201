from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from diff2i2p_core.benchmarks.building import Building
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import compose, invert, is_rigid, transform_points
from diff2i2p_core.geometry.submaps import visible_points
from diff2i2p_core.mapping.packed_views import RenderSettings
from diff2i2p_core.mapping.surface_viewpoints import CLEARANCE, DISTANCES, surface_viewpoints
from diff2i2p_core.mapping.viewpoints import rotation_from_z_up, sample_viewpoints
from diff2i2p_core.typing import Array

CAMERA = RenderSettings().camera()


def wall(bottom: float = 0.0) -> PointCloud:
    """A wall of 3 x 2 m along x and nothing else, with its lower edge at a height."""
    points = np.random.default_rng(0).uniform([0, 0, bottom], [3, 0.02, bottom + 2], (8000, 3))
    return PointCloud(points.astype(np.float32), np.full((8000, 3), 90, np.uint8))


def times_seen(points: NDArray[np.float32], views: Array) -> Array:
    """(N,) how many of the views see each point at a distance that counts."""
    count = np.zeros(len(points))
    for view in views:
        seen = visible_points(points, invert(view), CAMERA, min_depth=DISTANCES[0], margin=0.0)
        distance = np.linalg.norm(points[seen] - view[:3, 3], axis=1)
        count[seen[distance < DISTANCES[-1]]] += 1
    return count


@pytest.mark.parametrize("up", ["z", "-y", (0.36, 0.48, -0.8)])
def test_views_are_upright_and_in_free_space(room_cloud: PointCloud, up: str | tuple[float, ...]) -> None:
    direction = up if isinstance(up, str) else np.array(up)
    map_from_room = compose(rotation_from_z_up(direction), [1, 2, 3])
    views = invert(map_from_room) @ surface_viewpoints(room_cloud.moved(map_from_room), CAMERA, up=direction)
    assert all(is_rigid(view) for view in views)
    positions = views[:, :3, 3]
    # behind the box no camera fits in front of the wall, so one may look at it from outside
    assert ((positions > 0) & (positions < [4, 5, 2.1])).all(axis=1).mean() > 0.98
    assert not ((positions > [1.5, 3.5, 0]) & (positions < [2.5, 4.5, 0.8])).all(axis=1).any()  # in the box
    assert cKDTree(room_cloud.points).query(positions)[0].min() > CLEARANCE
    assert np.abs(views[:, 2, 0]).max() < 1e-6  # no roll
    assert np.abs(views[:, 2, 2]).max() <= np.sin(np.radians(35))


def test_all_surface_is_seen_a_few_times_by_a_bounded_number_of_views(room_cloud: PointCloud) -> None:
    views = surface_viewpoints(room_cloud, CAMERA)
    points = room_cloud.points
    walls_and_floor = points[points[:, 2] < 2.2]
    area = 18 * 2.2 + 20  # square metres
    assert 0.5 * area < len(views) < 2.5 * area
    assert (times_seen(walls_and_floor, views) >= 3).mean() > 0.95


@pytest.mark.parametrize("bottom", [0.0, 1.0])
def test_a_wall_seen_from_one_side_gets_views(bottom: float) -> None:
    cloud = wall(bottom)
    views = surface_viewpoints(cloud, CAMERA)
    assert 4 <= len(views) <= 30
    to_wall = np.abs(views[:, 1, 3])
    assert (to_wall < 1.4).any() and (to_wall > 2.2).any()
    shown = [len(visible_points(cloud.points, invert(view), CAMERA)) for view in views]
    assert min(shown) > 0.05 * len(cloud.points)
    assert (times_seen(cloud.points, views) >= 2).mean() > 0.95


def test_surface_with_detail_gets_more_views() -> None:
    """Of two walls alike, the one with a pattern is shown more often."""
    plain = wall()
    colors = np.random.default_rng(1).integers(0, 255, (len(plain), 1)).repeat(3, axis=1).astype(np.uint8)
    other = PointCloud(plain.points + np.array([8, 0, 0], np.float32), colors)
    both = PointCloud.joined([plain, other])
    x = np.array([transform_points(view, [[0, 0, 2.0]])[0, 0] for view in surface_viewpoints(both, CAMERA)])
    assert (x > 5.5).sum() > 1.5 * (x < 5.5).sum()


def test_a_building_has_few_views_outside() -> None:
    building = Building.of(1)
    views = surface_viewpoints(building.cloud(0.12), CAMERA)
    assert building.free(views[:, :3, 3]).mean() > 0.95  # a few look in from where the corridor ends
    assert len(views) < 350


def test_a_cloud_too_small_for_pieces_gets_standing_views() -> None:
    cloud = PointCloud(np.random.default_rng(0).uniform(0, 0.1, (50, 3)).astype(np.float32))
    np.testing.assert_allclose(surface_viewpoints(cloud, CAMERA), sample_viewpoints(cloud.points))
