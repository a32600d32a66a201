"""The files of a localization evaluation: metrics, trajectory, report and a picture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from diff2i2p_core.evaluation.localize_frames import FramesResult
from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.io.files import atomic_path, write_text
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.reports.match_pictures import localization_figure
from diff2i2p_core.reports.overlay import overlay_parts, titled_row
from diff2i2p_core.reports.page import Figure
from diff2i2p_core.reports.report import pick_frames, write_report
from diff2i2p_core.typing import Array, Image

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
    picked = pick_frames(result.results)
    shown = [figure for caption, query in picked if (figure := _figure(result, query, caption))]
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
        shown,
        result.cameras,
    )
    overlay = folder / OVERLAY
    overlay.unlink(missing_ok=True)
    with_pose = [(caption, query) for caption, query in picked if query.map_from_camera is not None]
    if with_pose:
        caption, query = with_pose[(len(with_pose) - 1) // 2]
        with atomic_path(overlay) as path:
            cv2.imwrite(str(path), titled_row(_parts(result, query), caption)[..., ::-1])


def _figure(result: FramesResult, query: QueryResult, caption: str) -> Figure | None:
    """The matches of an image or, without a localizer, its pose alone. None if there is neither.

    Of several cameras' images, it is the first camera's.
    """
    if result.localizer is None:
        return None if query.map_from_camera is None else Figure(caption, _parts(result, query))
    camera, frame, depth = result.seen(query.number)
    return localization_figure(
        result.localizer,
        frame.image,
        camera.camera,
        _of_camera(query, camera.body_from_camera),
        caption,
        np.asarray(depth, np.float32),
    )


def _of_camera(query: QueryResult, body_from_camera: Array) -> QueryResult:
    """With poses of the camera instead of those of its body."""
    found, true = query.map_from_camera, query.true_map_from_camera
    return replace(
        query,
        map_from_camera=None if found is None else found @ body_from_camera,
        true_map_from_camera=None if true is None else true @ body_from_camera,
    )


def _parts(result: FramesResult, query: QueryResult) -> list[tuple[str, Image]]:
    assert query.map_from_camera is not None
    camera, frame, _ = result.seen(query.number)
    pose = query.map_from_camera @ camera.body_from_camera
    point_map = result.point_map
    return overlay_parts(frame.image, camera.camera, pose, point_map.cloud, point_map.spacing)
