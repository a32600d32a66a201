"""The data of the demo: a posed RGB-D folder with frames for the map and frames to localize."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.localize_frames import evenly
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames

ROOM_SEED = 90213
"""The demo's room. Training must not use it."""
MAP_WALK, MAP_FRAMES, MAP_STEP = 1, 48, 0.2
"""Seed, number of images and metres between them."""
QUERY_WALK, QUERY_FRAMES, FIRST_QUERY = 4, 12, 100
"""Seed, number of images and number of the first one."""
QUERY_RATE = 1.0
"""Images per second: between two images, the camera makes a step and a turn."""


@dataclass(frozen=True)
class Sample:
    """Numbers of the frames for the map and of those to localize, in one folder."""

    name: str
    frames: PosedFrames
    map_numbers: list[int]
    query_numbers: list[int]
    rate: float = 30.0
    """Frame numbers per second."""

    def limited(self, limit: int | None) -> Sample:
        """The sample with at most `limit` queries, evenly spread."""
        return replace(self, query_numbers=evenly(self.query_numbers, limit))


def embedded_sample(folder: Path | str) -> Sample:
    """A synthetic room, rendered into `folder` unless it is already there. One camera path makes the map,
    images of another are localized."""
    folder = Path(folder) / f"room-{ROOM_SEED}"
    camera = Camera(640, 480, 525.0, 525.0, 319.5, 239.5)
    room = make_room(ROOM_SEED)
    for_map = camera_path(room, MAP_FRAMES, MAP_WALK, step=MAP_STEP)
    queries = camera_path(room, 3 * QUERY_FRAMES, QUERY_WALK)[::3]
    write_frames(folder, room, camera, for_map, seed=MAP_WALK)
    write_frames(folder, room, camera, queries, first=FIRST_QUERY, seed=QUERY_WALK)
    name = f"a synthetic room of {room.width:.1f} x {room.depth:.1f} m"
    return replace(split(PosedFrames(folder), FIRST_QUERY - 1, name), rate=QUERY_RATE)


def folder_sample(data: Path | str, map_until: int | None) -> Sample:
    """A posed RGB-D folder. Frames up to number `map_until` (default: about three quarters) make the map."""
    frames = PosedFrames(data)
    if map_until is None:
        map_until = frames.numbers[max(len(frames) * 3 // 4 - 1, 0)]
    return split(frames, map_until, str(data))


def split(frames: PosedFrames, map_until: int, name: str) -> Sample:
    """Frames up to number `map_until` for the map, the later ones to localize."""
    for_map = [number for number in frames.numbers if number <= map_until]
    queries = [number for number in frames.numbers if number > map_until]
    if not for_map or not queries:
        raise InputError(
            f"{frames.folder}: {len(for_map)} frames up to {map_until} for the map and {len(queries)} to "
            f"localize, of frames {frames.numbers[0]} to {frames.numbers[-1]}; choose another last map frame"
        )
    return Sample(name, frames, for_map, queries)
