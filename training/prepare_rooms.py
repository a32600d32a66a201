"""Render synthetic rooms as posed RGB-D folders: `python training/prepare_rooms.py OUT --seeds 100:160`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.progress import track

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.rooms.room import camera_path, make_room, room_seeds, write_frames
from diff2i2p_core.rooms.sensors import Sensor

KINECT_320 = Camera(320, 240, 262.5, 262.5, 159.75, 119.75)


def main(
    out: Path,
    seeds: Annotated[str, typer.Option(help="first:end of the rooms' seeds")] = "100:160",
    subset: Annotated[
        Literal["train", "test"], typer.Option(help="what the rooms are for; no seed is for both")
    ] = "train",
    frames: Annotated[int, typer.Option(help="frames per room")] = 40,
    sensor: Annotated[Sensor, typer.Option(help="sensor whose noise and gaps the depth gets")] = "kinect",
) -> None:
    """Write folders OUT/room-SEED. An interrupted run resumes where it stopped."""
    for seed in track(room_seeds(seeds, subset), description="rooms"):
        room = make_room(seed)
        poses = camera_path(room, frames, seed)
        write_frames(out / f"room-{seed:04d}", room, KINECT_320, poses, seed=seed, sensor=sensor)


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        print(f"prepare_rooms: {error}", file=sys.stderr)
        sys.exit(2)
