"""Replays a bag through the localizer, or live through the ROS 2 node, and measures the poses."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from diff2i2p_core.demo.live_replay import replay_live
from diff2i2p_core.demo.node_process import check_ros
from diff2i2p_core.evaluation.offline_replay import open_replay, replay_offline
from diff2i2p_core.evaluation.replay_result import ReplayResult
from diff2i2p_core.evaluation.replay_settings import ReplaySettings
from diff2i2p_core.io.files import check_output_folder
from diff2i2p_core.reports.replay_report import FILES, write_replay
from diff2i2p_core.typing import Progress


def replay(
    bag: Path | str,
    map_path: Path | str,
    settings: ReplaySettings | None = None,
    *,
    out: Path | str | None = None,
    progress: Progress | None = None,
) -> ReplayResult:
    """Localize the images of a ROS 2 bag (folder, .mcap or .db3) in a map file, and measure the poses.

    Args:
        settings: topics, frames, truth, requirements, ...
        out: folder for report.html, trajectory.tum and result.json, and for the logs of a live replay.

    Raises:
        InputError: bag, map or settings are invalid or do not match; `out` is an input or cannot be written;
        in a
            live replay, ROS 2 is missing or one of the processes failed.
    """
    settings = settings or ReplaySettings()
    if out is not None:
        check_output_folder(out, [bag, map_path, settings.truth.file], FILES)
    if settings.live:
        check_ros()
    if progress is not None:
        progress("reading the bag", 0, None)
    given = open_replay(bag, map_path, settings)
    if not settings.live:
        result = replay_offline(given, progress)
    elif out is not None:
        result = replay_live(given, Path(out) / "log", progress)
    else:
        with TemporaryDirectory() as log_folder:
            result = replay_live(given, Path(log_folder), progress)
    if out is not None:
        write_replay(out, result)
    return result
