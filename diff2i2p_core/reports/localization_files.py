"""The files of a localization evaluation: metrics, trajectory, report and a picture."""

from __future__ import annotations

import json
from pathlib import Path

import cv2

from diff2i2p_core.evaluation.localize_frames import FramesResult
from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.io.files import atomic_path, write_text
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.reports.overlay import panel
from diff2i2p_core.reports.report import frame_caption, pick_frames, write_report
from diff2i2p_core.typing import Image

REPORT, OVERLAY, NUMBERS, TRAJECTORY = FILES = (
    "report.html",
    "overlay.png",
    "summary.json",
    "trajectory.tum",
)


def write_results(folder: Path | str, title: str, result: FramesResult) -> None:
    """Write summary.json, trajectory.tum, report.html and, if an image was localized, overlay.png."""
    folder = Path(folder)
    summary = result.summary
    localized = {r.stamp: r.map_from_camera for r in result.results if r.map_from_camera is not None}
    panels = [
        (frame_caption(word, query), _panel(result, query, frame_caption(word, query)))
        for word, query in pick_frames(result.results)
    ]
    content = {**result.as_dict(), "about": result.about, "frames": [r.as_dict() for r in result.results]}
    write_text(folder / NUMBERS, json.dumps(content, indent=1) + "\n")
    write_trajectory(folder / TRAJECTORY, list(localized), list(localized.values()))
    write_report(
        folder / REPORT,
        title,
        result.about,
        result.results,
        summary,
        result.point_map.cloud.points,
        panels,
        result.cameras,
    )
    overlay = folder / OVERLAY
    overlay.unlink(missing_ok=True)
    if panels:
        with atomic_path(overlay) as path:
            cv2.imwrite(str(path), panels[(len(panels) - 1) // 2][1][..., ::-1])


def _panel(result: FramesResult, query: QueryResult, caption: str) -> Image:
    assert query.map_from_camera is not None
    image, camera, body_from_camera = result.picture(query.number)
    point_map = result.point_map
    return panel(
        image,
        camera,
        query.map_from_camera @ body_from_camera,
        point_map.cloud,
        point_map.spacing,
        caption,
    )
