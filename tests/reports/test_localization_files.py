"""The files of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from diff2i2p_core.evaluation.localize_frames import FramesResult
from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import exp, transform_points
from diff2i2p_core.geometry.submaps import SubmapSettings
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.io.trajectories import read_trajectory
from diff2i2p_core.mapping.map_file import MapInfo, PointMap
from diff2i2p_core.reports.localization_files import write_results
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames


@pytest.mark.parametrize("localized", [0, 1, 2, 3])
def test_each_run_writes_its_files_and_no_stale_overlay(tmp_path: Path, localized: int) -> None:
    room = make_room(3)
    write_frames(
        tmp_path / "frames", room, Camera(64, 48, 52, 52, 31.5, 23.5), camera_path(room, 3, 1), noise=False
    )
    frames = PosedFrames(tmp_path / "frames")
    points, _ = frames.points(frames[0])
    points = transform_points(frames[0].world_from_camera, points).astype(np.float32)
    info = MapInfo("frames", "none", "0" * 64, "mono", "rgb", SubmapSettings())
    point_map = PointMap(info, PointCloud(points), np.empty((0, 4, 4)), [])
    results = []
    for index, number in enumerate(frames.numbers):
        pose = frames.pose(number)
        found = pose @ exp([0, 0, 0, 0.01 * index, 0, 0]) if index < localized else None
        results.append(QueryResult(number, number / 30, pose, found, "" if found is not None else "blurred"))
    (tmp_path / "overlay.png").write_text("of an earlier run")
    write_results(tmp_path, "A run", FramesResult(frames, point_map, results, {"map": "frames"}))
    assert (tmp_path / "overlay.png").exists() == (localized > 0)
    if localized:
        assert (tmp_path / "overlay.png").stat().st_size > 5_000
        assert len(read_trajectory(tmp_path / "trajectory.tum")[0]) == localized
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["localized"] == localized and len(summary["frames"]) == 3
    assert "</html>" in (tmp_path / "report.html").read_text()
