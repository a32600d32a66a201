"""Sampled viewpoints where the free space is known."""

from __future__ import annotations

import numpy as np
import pytest

from diff2i2p_core.benchmarks.building import STOREY, Box, Building
from diff2i2p_core.mapping.occupancy import Occupancy
from diff2i2p_core.mapping.viewpoints import EYE_HEIGHT, sample_viewpoints


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def positions_of(views: np.ndarray) -> np.ndarray:
    return np.unique(views[:, :3, 3].round(6), axis=0)


def plane(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], count: int) -> np.ndarray:
    low, high = np.transpose([x, y, z])
    return rng().uniform(low, high, (count, 3))


@pytest.fixture(scope="module")
def building() -> Building:
    """Two storeys: the lower one full."""
    return Building.of(43)


@pytest.fixture(scope="module")
def views(building: Building) -> np.ndarray:
    return sample_viewpoints(building.cloud(0.09).points)


def test_every_room_of_every_storey_has_views_and_no_wall_has(building: Building, views: np.ndarray) -> None:
    positions = positions_of(views)
    assert building.free(positions).all()
    assert min(space.holds(positions).sum() for space in building.spaces) >= 3
    heights = positions[:, 2] % STOREY
    assert (np.abs(heights - EYE_HEIGHT) < 0.7).all() and (np.abs(heights - EYE_HEIGHT) < 0.1).mean() > 0.9


def test_the_number_of_views_grows_with_the_building(building: Building, views: np.ndarray) -> None:
    few = sample_viewpoints(Building.of(4).cloud(0.09).points)
    assert 0.7 < (len(views) / 43) / (len(few) / 4) < 1.4


def test_no_view_is_nearly_another_or_looks_at_bare_wall(building: Building, views: np.ndarray) -> None:
    room = building.spaces[0]
    inside = views[room.holds(views[:, :3, 3])]
    for i, view in enumerate(inside):
        same = [
            other
            for other in inside[i + 1 :]
            if np.linalg.norm(view[:3, 3] - other[:3, 3]) < 1.2 and view[:3, 2] @ other[:3, 2] > 0.99
        ]
        assert not same
        ahead = view[:3, 3] + 0.6 * view[:3, 2] * [1, 1, 0]
        assert room.holds(ahead[None]).all()


def test_a_long_corridor_and_a_hall_are_covered_to_their_ends() -> None:
    corridor = Box((0, 0, 0), (40, 1.4, 2.5))
    positions = positions_of(sample_viewpoints(corridor.points(rng(), 0.08).astype(np.float32)))
    assert corridor.holds(positions, 0.3).all()
    along = np.sort(positions[:, 0])
    assert along[0] < 1.6 and along[-1] > 38.4 and np.diff(along).max() < 2.6
    hall = Box((0, 0, 0), (30, 25, 9))
    positions = positions_of(sample_viewpoints(hall.points(rng(), 0.15).astype(np.float32)))
    assert hall.holds(positions, 0.3).all()
    grid = np.stack(np.meshgrid(np.arange(1, 29), np.arange(1, 24), [EYE_HEIGHT]), axis=-1).reshape(-1, 1, 3)
    assert np.linalg.norm(grid - positions, axis=2).min(axis=1).max() < 1.75


def test_outside_the_walls_there_is_no_view() -> None:
    """The street before a house was scanned too."""
    house = Box((0, 0, 0), (6, 5, 2.6))
    street = plane((-12, 18), (-15, -0.2), (0, 0), 30_000)
    facade = plane((-0.2, 6.2), (-0.2, -0.2), (0, 5), 6_000)
    points = np.concatenate([house.points(rng(), 0.06), street, facade]).astype(np.float32)
    positions = positions_of(sample_viewpoints(points))
    assert len(positions) > 4 and house.holds(positions).all()


def test_a_narrow_corridor_between_rooms_has_views_of_its_own() -> None:
    boxes = [Box((0, y, 0), (8, y + width, 2.6)) for y, width in ((0, 4), (4.15, 1.1), (5.4, 4))]
    positions = positions_of(
        sample_viewpoints(np.concatenate([box.points(rng(), 0.06) for box in boxes]).astype(np.float32))
    )
    assert all(box.holds(positions).sum() >= 4 for box in boxes)


def test_viewpoints_stand_on_floors_not_on_furniture() -> None:
    room, table = Box((0, 0, 0), (5, 5, 3.2)), Box((1.5, 1.5, 0), (3.0, 2.5, 0.75))
    floors = Occupancy(np.concatenate([box.points(rng(), 0.05) for box in (room, table)])).floors()
    low = floors[floors[:, 2] < 3]  # the ceiling's upper side is the next storey's
    assert len(low) > 300 and (low[:, 2] < 0.3).all()
    ground, first = plane((0, 6), (0, 6), (0, 0), 20_000), plane((0, 6), (0, 6), (3, 3), 20_000)
    heights = Occupancy(np.concatenate([ground, first])).floors()[:, 2]
    assert (heights < 0.1).sum() > 300 and (heights > 2.9).sum() > 300


def test_rays_end_at_the_first_surface() -> None:
    walls = np.concatenate([plane((3, 3), (-2, 2), (-2, 2), 5000), plane((-2, 2), (5, 5), (-2, 2), 5000)])
    directions = np.array([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0]])
    found = Occupancy(walls).sight(np.zeros((3, 3)), directions, 8.0)
    np.testing.assert_allclose(found, [3, 5, 8], atol=0.2)
