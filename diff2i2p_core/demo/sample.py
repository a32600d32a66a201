"""What the demo plays: a posed RGB-D folder with frames for the map and frames to localize."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.localize_frames import evenly
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames

ROOM_SEED = 90213
"""The demo's room; training must not use it."""
MAP_WALK, MAP_FRAMES, MAP_STEP = 1, 48, 0.2
"""Seed, images and metres between them."""
QUERY_WALK, QUERY_FRAMES, FIRST_QUERY = 4, 12, 100
"""Seed, images and number of the first one."""
QUERY_RATE = 1.0
"""Images a second: from one to the next it is a step and a turn."""


@dataclass(frozen=True)
class Sample:
    """Frame numbers for the map and to localize, in one folder."""

    name: str
    frames: PosedFrames
    map_numbers: list[int]
    query_numbers: list[int]
    rate: float = 30.0
    """Frame numbers a second."""

    def limited(self, limit: int | None) -> Sample:
        """With at most `limit` queries, spread evenly over all of them."""
        return replace(self, query_numbers=evenly(self.query_numbers, limit))


def embedded_sample(folder: Path | str) -> Sample:
    """A synthetic room, rendered into `folder` where that was not done yet: one walk makes the map, images of
    another one are localized."""
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
    """A posed RGB-D folder: frames up to number `map_until` make the map, default about three quarters."""
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
            f"{frames.folder}: of its frames {frames.numbers[0]} to {frames.numbers[-1]}, {len(for_map)} are "
            f"for the map, up to {map_until}, and {len(queries)} to localize; choose another last map frame"
        )
    return Sample(name, frames, for_map, queries)
