"""The files of an evaluated localization: numbers, trajectory, report and a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.io.files import atomic_path, write_text
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.mapping.map_file import PointMap
from diff2i2p_core.reports.overlay import panel
from diff2i2p_core.reports.report import frame_caption, pick_frames, write_report
from diff2i2p_core.typing import Image


def write_results(
    folder: Path | str,
    title: str,
    about: dict[str, str],
    frames: PosedFrames,
    results: Sequence[QueryResult],
    summary: dict[str, Any],
    point_map: PointMap,
) -> None:
    """Write summary.json, trajectory.tum, report.html and, where an image was localized, overlay.png."""
    folder = Path(folder)
    localized = {r.stamp: r.map_from_camera for r in results if r.map_from_camera is not None}
    panels = [
        (frame_caption(word, result), _panel(frames, result, frame_caption(word, result), point_map))
        for word, result in pick_frames(results)
    ]
    content = {**summary, "about": about, "frames": [r.as_dict() for r in results]}
    write_text(folder / "summary.json", json.dumps(content, indent=1) + "\n")
    write_trajectory(folder / "trajectory.tum", list(localized), list(localized.values()))
    write_report(
        folder / "report.html",
        title,
        about,
        results,
        summary,
        point_map.cloud.points,
        panels,
    )
    overlay = folder / "overlay.png"
    overlay.unlink(missing_ok=True)
    if panels:
        with atomic_path(overlay) as path:
            cv2.imwrite(str(path), panels[(len(panels) - 1) // 2][1][..., ::-1])


def _panel(frames: PosedFrames, result: QueryResult, caption: str, point_map: PointMap) -> Image:
    assert result.map_from_camera is not None
    image = frames[frames.numbers.index(result.number)].image
    return panel(
        frames.camera.rectify(image),
        frames.camera.undistorted(),
        result.map_from_camera,
        point_map.cloud,
        point_map.spacing,
        caption,
    )
