"""Occupancy grids cut from maps, read back by the rules of Nav2's map_server."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.submaps import SubmapSettings
from diff2i2p_core.io.occupancy_grid import FREE, OCCUPIED, UNKNOWN, OccupancyGrid, write_grid
from diff2i2p_core.mapping.floor_grid import floor_grid
from diff2i2p_core.mapping.map_file import MapInfo, PointMap
from diff2i2p_core.mapping.viewpoints import looking, rotation_from_z_up

VIEW = (1.0, 1.0)
"""Where the room was seen from."""


def map_of(points: NDArray[np.floating], views: list[tuple[float, ...]]) -> PointMap:
    poses = np.array([looking(np.array(view), 0.0, 0.0) for view in views])
    info = MapInfo("a room", "none", "", "mono", "none", SubmapSettings())
    return PointMap(info, PointCloud(points.astype(np.float32)), poses, [])


@pytest.fixture(scope="module")
def room_map(room_cloud: PointCloud) -> PointMap:
    """Without the points of a quarter of the floor."""
    points = room_cloud.points
    unseen = (points[:, 2] < 0.05) & (points[:, 0] < 2) & (points[:, 1] > 2)
    return map_of(points[~unseen], [(*VIEW, 1.2)])


def read(path: Path) -> tuple[NDArray[np.int8], float, list[float]]:
    """As map_server does: its values, first row at the lowest y; the resolution; the origin."""
    about = yaml.safe_load(path.read_text(encoding="utf-8"))
    shades = np.asarray(Image.open(path.with_name(about["image"]))).astype(float)
    assert about["mode"] == "trinary" and about["negate"] == 0
    occupancy = (255 - shades) / 255
    values = np.full(shades.shape, UNKNOWN, np.int8)
    values[occupancy > about["occupied_thresh"]] = OCCUPIED
    values[occupancy < about["free_thresh"]] = FREE
    return values[::-1], about["resolution"], about["origin"]


def at(grid: OccupancyGrid, x: float, y: float) -> int:
    column, row = ((value - low) / grid.resolution for value, low in zip((x, y), grid.origin, strict=True))
    return int(grid.cells[math.floor(row), math.floor(column)])


def test_a_room_is_read_back_as_it_was_cut(room_map: PointMap, tmp_path: Path) -> None:
    """4 x 5 m, with a box of 1 x 1 m in it."""
    grid, floor = floor_grid(room_map)
    assert abs(floor) < 0.05
    write_grid(grid, tmp_path / "plans" / "room")
    values, resolution, origin = read(tmp_path / "plans" / "room.yaml")
    np.testing.assert_array_equal(values, grid.cells)
    assert resolution == 0.05 and origin[2] == 0

    found = OccupancyGrid(values, resolution, (origin[0], origin[1]))
    for x, y in (VIEW, (0.5, 0.5), (0.5, 4.0), (1.0, 3.0)):
        assert at(found, x, y) == FREE, (x, y)  # seen from the view
    for x, y in ((3.5, 4.7), (2.4, 4.7)):
        assert at(found, x, y) == FREE, (x, y)  # behind the box, but the floor is seen
    for x, y in ((0.01, 2.5), (4.01, 2.5), (2.0, 0.01), (2.0, 5.01), (1.51, 4.0), (2.0, 3.51)):
        assert at(found, x, y) == OCCUPIED, (x, y)
    assert at(found, 2.0, 4.0) == OCCUPIED  # the top of the box
    assert at(found, -0.06, 2.5) == at(found, 2.0, 5.06) == UNKNOWN


def test_what_is_hidden_is_unknown(room_map: PointMap) -> None:
    """Behind the box as seen from the view, where no floor was scanned either."""
    points = room_map.cloud.points
    bare = map_of(points[points[:, 2] > 0.15], [(*VIEW, 1.2)])
    grid, _ = floor_grid(bare, floor=0.0)

    assert at(grid, 2.4, 4.8) == UNKNOWN and at(grid, 0.5, 4.8) == at(grid, 3.5, 2.5) == FREE
    assert 0.5 < grid.share(FREE) < 0.95 and grid.share(OCCUPIED) > 0.05


def test_a_view_through_an_opening_onto_nothing_tells_nothing() -> None:
    """A wall with a gap; behind it there are no points."""
    heights = np.arange(0.2, 1.5, 0.1)
    wall = [(x, 0.0) for x in np.arange(-3, 3, 0.02) if abs(x) > 0.5]
    points = np.array([(x, y, z) for x, y in wall for z in heights])
    grid, _ = floor_grid(map_of(points, [(0.0, -1.0, 1.0)]), floor=0.0)
    assert not (grid.cells[-1] == FREE).any()
    tilted = points @ np.array([[1, 1, 0], [-1, 1, 0], [0, 0, math.sqrt(2)]]).T / math.sqrt(2)
    grid, _ = floor_grid(map_of(tilted, [(-0.7, 0.7, 1.0), (0.7, -0.7, 1.0)]), floor=0.0)
    assert (grid.cells == OCCUPIED).any() and not (grid.cells == FREE)[:, 0].any()


def test_each_storey_has_a_grid_of_its_own(room_cloud: PointCloud) -> None:
    upper = room_cloud.points * [0.5, 0.5, 1] + [0, 0, 3]
    both = map_of(np.concatenate([room_cloud.points, upper]), [(*VIEW, 1.2)])
    lower, floor = floor_grid(both)
    assert abs(floor) < 0.05
    cut, _ = floor_grid(both, floor=3.0)
    assert cut.cells.shape[0] < 0.6 * lower.cells.shape[0]


def test_the_band_decides_what_is_in_the_way(room_cloud: PointCloud) -> None:
    """Over the box of 0.8 m, a drone can fly."""
    found = [
        floor_grid(map_of(room_cloud.points, [(*VIEW, 1.2)]), band=band)[0]
        for band in ((0.1, 0.5), (0.9, 1.5))
    ]
    inside = [at(grid, 1.51, 4.0) for grid in found]
    assert inside[0] == OCCUPIED and inside[1] != OCCUPIED


def test_maps_that_have_no_grid_are_refused(room_cloud: PointCloud) -> None:
    sideways = map_of(room_cloud.points @ rotation_from_z_up("y").T, [(1.2, 1.0, 1.0)])
    with pytest.raises(InputError, match=r"up is y; Nav2 needs z up"):
        floor_grid(sideways)
    room = map_of(room_cloud.points, [(*VIEW, 1.2)])
    with pytest.raises(InputError, match=r"no points 0.1 to 1.5 m above a floor at z = 40.00"):
        floor_grid(room, floor=40.0)
    with pytest.raises(InputError, match=r"would have .* cells"):
        floor_grid(room, resolution=1e-4)
    with pytest.raises(InputError, match="lower limit first"):
        floor_grid(room, band=(1.0, 0.5))
    with pytest.raises(InputError, match="no floor is below its views; give `floor`"):
        floor_grid(map_of(room_cloud.points, [(30.0, 30.0, 1.2)]))


def test_a_grid_of_any_shape_is_written(tmp_path: Path) -> None:
    cells = np.array([[FREE, OCCUPIED, UNKNOWN], [UNKNOWN, FREE, FREE]], np.int8)
    write_grid(OccupancyGrid(cells, 0.1, (-3.05, 12.5)), tmp_path / "a.yaml")
    values, resolution, origin = read(tmp_path / "a.yaml")
    np.testing.assert_array_equal(values, cells)
    assert (resolution, origin) == (0.1, [-3.05, 12.5, 0.0])
