from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from diff2i2p_core.benchmarks.building import Building
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.fused_frames import fuse_frames
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.mapping.gravity import find_up
from diff2i2p_core.mapping.source import MapSource
from diff2i2p_core.mapping.viewpoints import AXES, axis_vector, rotation_from_z_up
from diff2i2p_core.rooms.room import Room, make_room
from diff2i2p_core.typing import Array


def surface_of(room: Room) -> Array:
    """Points (N, 3) all over a room's surfaces, 5 cm apart."""
    rng, parts = np.random.default_rng(0), []
    for face in room.scene.rectangles:
        u, v = np.linalg.norm(face.edge_u), np.linalg.norm(face.edge_v)
        at = rng.uniform(0, 1, (max(1, int(400 * u * v)), 2))
        parts.append(face.origin + at[:, :1] * face.edge_u + at[:, 1:] * face.edge_v)
    return np.concatenate(parts)


def test_up_is_found_among_the_axes() -> None:
    room = surface_of(make_room(20003))
    for axis in AXES:
        up, words = find_up((room @ rotation_from_z_up(axis).T).astype(np.float32))
        assert words == axis
        np.testing.assert_array_equal(up, axis_vector(axis))


@pytest.mark.parametrize("seed", range(20000, 20004))
def test_up_is_found_in_rooms_turned_at_random(seed: int) -> None:
    turn = Rotation.random(random_state=seed).as_matrix()
    up, words = find_up((surface_of(make_room(seed)) @ turn.T).astype(np.float32))
    assert np.degrees(np.arccos(up @ turn[:, 2])) < 2
    assert "deg from" in words


def test_a_slightly_tilted_cloud_is_upright() -> None:
    turn = Rotation.from_euler("x", 3, degrees=True).as_matrix()
    assert find_up((surface_of(make_room(20001)) @ turn.T).astype(np.float32))[1] == "z"


@pytest.mark.parametrize("rooms", [1, 12, 45])  # a room; a corridor with rooms; two storeys
def test_up_is_found_in_buildings(rooms: int) -> None:
    points = Building.of(rooms).cloud(0.12).points
    assert find_up(points)[1] == "z"
    assert find_up(-points[:, [0, 2, 1]])[1] == "-y"


def test_a_single_wall_is_upright_and_a_large_floor_is_level() -> None:
    rng = np.random.default_rng(0)
    assert find_up(rng.uniform([0, 0, 0], [3, 0.01, 2], (5000, 3)).astype(np.float32))[1] in ("z", "-z")
    assert find_up(rng.uniform([0, 0, 0], [6, 0.01, 5], (20000, 3)).astype(np.float32))[1] in ("y", "-y")


def test_a_cloud_without_planes_is_taken_as_z_up() -> None:
    points = np.random.default_rng(0).uniform(0, 0.2, (200, 3)).astype(np.float32)
    assert find_up(points)[1].startswith("z")


def test_the_direction_taken_as_up_is_printed(room_cloud: PointCloud) -> None:
    notes: list[str] = []
    MapSource.unseen(room_cloud, "auto", notes.append)
    assert len(notes) == 1 and notes[0].startswith("up is z")
    MapSource.unseen(room_cloud, "z", notes.append)
    assert len(notes) == 1
    with pytest.raises(InputError, match="up 'q'"):
        MapSource.unseen(room_cloud, "q")


@pytest.mark.parametrize(
    ("place", "up"), [("tum_fr3_teddy", "z"), ("tum_fr1_rpy", "z"), ("hololens_office", "y")]
)
def test_up_of_real_places(data_dir: Path, place: str, up: str) -> None:
    frames = PosedFrames(data_dir / place)
    assert find_up(fuse_frames(frames, frames.numbers[::3], 0.05, 4).points)[1] == up
