"""Render synthetic rooms as posed RGB-D folders: `python training/prepare_rooms.py OUT --seeds 100:160`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from diff2i2p_core.data.rooms import camera_path, make_room, write_frames
from diff2i2p_core.geometry.camera import Camera

KINECT_320 = Camera(320, 240, 262.5, 262.5, 159.75, 119.75)


def main(
    out: Path,
    seeds: Annotated[str, typer.Option(help="first:end of the rooms' seeds")] = "100:160",
    frames: Annotated[int, typer.Option(help="frames a room")] = 40,
) -> None:
    """Folders OUT/room-SEED. A broken-off run goes on where it stopped."""
    first, end = (int(part) for part in seeds.split(":"))
    for seed in track(range(first, end), description="rooms"):
        room = make_room(seed)
        write_frames(out / f"room-{seed:04d}", room, KINECT_320, camera_path(room, frames, seed), seed=seed)


if __name__ == "__main__":
    typer.run(main)
