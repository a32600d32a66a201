"""Data for the examples: a synthetic room, its map and images to localize, made in `FOLDER` at first use.

The shipped weights were trained with this room's map, never with these images of it.
"""

from __future__ import annotations

from pathlib import Path

from diff2i2p_core import Camera, build_map
from diff2i2p_core.demo.sample import MAP_WALK, QUERY_WALK, ROOM_SEED
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames

FOLDER = Path(__file__).resolve().parents[1] / "out/examples"
CAMERA = Camera(width=320, height=240, fx=262.5, fy=262.5, cx=159.5, cy=119.5)


def map_frames() -> Path:
    """A posed RGB-D folder: sixteen frames of a walk through the room."""
    return _frames("map_frames", MAP_WALK, steps=48, stride=3, step=0.2)


def query_frames() -> Path:
    """Four images of another walk, with their true poses."""
    return _frames("query_frames", QUERY_WALK, steps=36, stride=9, step=0.12)


def map_file() -> Path:
    """A map file made of `map_frames`."""
    path = FOLDER / "room.map"
    if not path.is_file():
        build_map(map_frames(), path)
    return path


def _frames(name: str, seed: int, *, steps: int, stride: int, step: float) -> Path:
    """Every `stride`-th frame of a walk of `steps` steps of `step` metres."""
    folder = FOLDER / name
    if not (folder / f"frame-{steps // stride - 1:06d}.pose.txt").is_file():
        room = make_room(ROOM_SEED)
        poses = camera_path(room, steps, seed, step=step)[::stride]
        write_frames(folder, room, CAMERA, poses, seed=seed)
    return folder
