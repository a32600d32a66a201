"""What a small network learns by heart in a few hundred steps: four views of a room, never varied."""

from __future__ import annotations

from pathlib import Path

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames

UNCHANGED = {
    "other_frame": 0, "jitter_deg": 0, "jitter_m": 0, "roll_deg": 0, "zoom": [1, 1], "color_jitter": 0,
    "point_noise": 0, "point_dropout": 0,
}  # fmt: skip
"""Settings of pairs without augmentation."""


def write_four_views(folder: Path) -> None:
    """As posed RGB-D frames, 160x120, without noise."""
    room = make_room(3)
    path = camera_path(room, 40, 3)[::13]
    write_frames(folder, room, Camera(160, 120, 131, 131, 79.5, 59.5), path, noise=False)
