"""A replay in a browser: its poses over the map, and a slider that moves the cameras along them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.rig import RigCamera
from diff2i2p_core.io.trajectories import read_trajectory
from diff2i2p_core.reports.map_scene import (
    CAMERA_COLOR,
    SHAPE,
    quaternion_wxyz,
    show_camera,
    show_lines,
    swatch,
)
from diff2i2p_core.reports.plots import GRADES
from diff2i2p_core.reports.replay_report import NUMBERS, TRAJECTORY
from diff2i2p_core.typing import Array

if TYPE_CHECKING:
    from viser import ViserServer

COLORS = {"good": (70, 205, 110), "fair": (235, 180, 60), "poor": (240, 80, 70), "unknown": CAMERA_COLOR}
"""Of the grades in reports."""
DOT = 0.05
"""Metres."""


@dataclass(frozen=True)
class RecordedReplay:
    """What is read again of a replay's files."""

    stamps: Sequence[float]
    """Seconds, one for each image that was localized."""
    poses: Sequence[Array]
    """map_from_body."""
    body: str
    """The name of the frame whose poses they are; `camera` for an optical frame."""
    frames: Sequence[Mapping[str, Any]]
    """The row in result.json of each pose; rows have the keys of `QueryResult.as_dict`."""
    queries: int
    """Number of images, with those that were not localized."""
    cameras: Sequence[RigCamera] = field(default_factory=list)
    """Those on the body whose mounting is known."""

    @classmethod
    def read(cls, folder: Path) -> RecordedReplay:
        """From the folder that a replay wrote. InputError if it is none, or no image was localized."""
        stamps, poses = read_trajectory(folder / TRAJECTORY)
        head = (folder / TRAJECTORY).read_text(encoding="utf-8").partition("\n")[0]
        body = re.search(r"_from_(.+?), metres", head)
        path = folder / NUMBERS
        try:
            numbers = json.loads(path.read_text(encoding="utf-8"))
            row_of = {round(row["stamp"], 6): row for row in numbers["frames"]}
            cameras = [
                RigCamera(name, Camera(**share["camera"]), np.array(share["body_from_camera"], float))
                for name, share in numbers.get("cameras", {}).items()
                if share.get("body_from_camera") is not None
            ]
            frames = [row_of[round(stamp, 6)] for stamp in stamps]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise InputError(
                f"{path}: missing, or not the result of the replay in {TRAJECTORY}; replay the bag again"
            ) from None
        name = "camera" if body is None else body[1]
        return cls(stamps, poses, name, frames, len(numbers["frames"]), cameras)


def show_replay(server: ViserServer, replay: RecordedReplay) -> None:
    """The path, /replay/path, poses coloured by their errors, /replay/poses, and the body at one of them,
    /replay/body, with all its cameras. A slider chooses the pose."""
    positions = np.array([pose[:3, 3] for pose in replay.poses], np.float32)
    if len(positions) > 1:
        lines = np.stack([positions[:-1], positions[1:]], axis=1)
        show_lines(server, "/replay/path", lines, CAMERA_COLOR, 1.5)
    grades = [_grade(row) for row in replay.frames]
    colors = np.array([COLORS[grade] for grade in grades], np.uint8)
    server.scene.add_point_cloud(
        "/replay/poses", positions, colors, point_size=DOT, precision="float32", point_shape="circle"
    )
    body = show_camera(server, "/replay/body", replay.poses[0], SHAPE) if _is_camera(replay) else None
    if body is None:
        body = server.scene.add_frame("/replay/body", axes_length=0.3, axes_radius=0.012)
        for camera in replay.cameras:
            at = f"/replay/body/{camera.name.strip('/').replace('/', '_')}"
            show_camera(server, at, camera.body_from_camera, camera.camera)
    server.gui.add_markdown(_words(replay, grades))
    slider = server.gui.add_slider("pose", 0, max(len(replay.poses) - 1, 1), 1, 0)
    words = server.gui.add_markdown("")

    def show(number: int) -> None:
        body.wxyz, body.position = quaternion_wxyz(replay.poses[number]), replay.poses[number][:3, 3]
        words.content = _pose_words(replay, number)

    slider.on_update(lambda event: show(min(int(slider.value), len(replay.poses) - 1)))
    show(0)


def _is_camera(replay: RecordedReplay) -> bool:
    return replay.body == "camera" and not replay.cameras


def _grade(row: Mapping[str, Any]) -> str:
    """As `plots.grade`, of a row of result.json."""
    metres, degrees = row["translation_m"], row["rotation_deg"]
    if metres is None or degrees is None:
        return "unknown"
    return next(name for name, _, most, turn in GRADES if metres <= most and degrees <= turn)


def _words(replay: RecordedReplay, grades: Sequence[str]) -> str:
    """What the scene shows of the replay."""
    what = "the camera" if _is_camera(replay) else f"the frame {replay.body}"
    if replay.cameras:
        what += " with its cameras " + ", ".join(camera.name for camera in replay.cameras)
    lines = [f"**Replay**: {len(replay.poses)} of {replay.queries} images were localized. Shown: {what}."]
    words_of = {name: words for name, words, *_ in GRADES} | {"unknown": "localized, true pose unknown"}
    lines += [
        f"{swatch(COLORS[name])} {grades.count(name)} {words}"
        for name, words in words_of.items()
        if name in grades
    ]
    return "\n\n".join(lines)


def _pose_words(replay: RecordedReplay, number: int) -> str:
    row, (x, y, z) = replay.frames[number], replay.poses[number][:3, 3]
    words = f"**{replay.stamps[number] - replay.stamps[0]:.2f} s**, image {row['number']}: "
    words += f"({x:.2f}, {y:.2f}, {z:.2f}) m"
    if row["num_inliers"] is not None:
        words += f", {row['num_inliers']} inliers"
    if row["translation_m"] is not None:
        words += f", {100 * row['translation_m']:.1f} cm and {row['rotation_deg']:.2f}° off"
    return words
