"""The demo's images through the node over DDS of this host, and what another process hears of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diff2i2p_core.demo.node_process import (
    MAP_FRAME,
    READY_TIMEOUT,
    follow,
    is_ready,
    module,
    node_command,
    read_rows,
    ros_environment,
    stamp_of,
)
from diff2i2p_core.demo.processes import children, wait_until
from diff2i2p_core.demo.sample import Sample
from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.geometry.se3 import Array, from_quaternion


@dataclass(frozen=True)
class Answer:
    """What the listener heard about one image."""

    map_from_camera: Array | None
    received: int | None
    """Monotonic nanoseconds at which the transform came."""
    values: dict[str, str]
    """The diagnostics' values about this image."""


def localize_over_ros(
    sample: Sample,
    map_path: Path,
    log_folder: Path,
    *,
    weights: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[QueryResult]:
    """Play the sample's queries to the node and return what came back on /tf. `progress` gets the count done.

    InputError with the last log lines if one of the processes fails.
    """
    heard, played = log_folder / "listener.jsonl", log_folder / "player.jsonl"
    for path in (heard, played):
        path.unlink(missing_ok=True)
    start = int(time.time())
    with children(ros_environment(log_folder), log_folder) as group:
        group.start("listener", module("demo_listener", str(heard)))
        group.start("node", node_command(map_path, weights, {}, {}))
        wait_until(lambda: is_ready(heard), group, "the node to start and be heard", READY_TIMEOUT)
        numbers = ",".join(str(number) for number in sample.query_numbers)
        player = group.start(
            "player",
            module(
                "demo_player",
                str(sample.frames.folder),
                str(played),
                "--numbers",
                numbers,
                "--rate",
                str(sample.rate),
                "--start",
                str(start),
            ),
        )
        follow(player, group, heard, played, len(sample.query_numbers), progress)
        last = [row["stamp"] for row in read_rows(played) if row["answered"]][-1:]
        # The transform goes out before the diagnostics that let the player go on; give the listener a moment.
        settled = lambda: not last or last[0] in answers(read_rows(heard))  # noqa: E731
        wait_until(settled, group, "the last answer", 5.0)
    return results(sample, list(read_rows(played)), answers(read_rows(heard)))


def answers(heard: Iterator[dict[str, Any]]) -> dict[int, Answer]:
    """What the listener heard, by image stamp in nanoseconds."""
    poses: dict[int, tuple[Array, int]] = {}
    values: dict[int, dict[str, str]] = {}
    for row in heard:
        if row["kind"] == "tf" and row["parent"] == MAP_FRAME:
            pose = from_quaternion(row["translation"], row["quaternion"])
            poses.setdefault(row["stamp"], (pose, row["received"]))
        elif row["kind"] == "diagnostics" and "last_stamp" in row["values"]:
            values[stamp_of(row["values"]["last_stamp"])] = row["values"]
    heard_of = {stamp: Answer(None, None, said) for stamp, said in values.items()}
    for stamp, (pose, received) in poses.items():
        heard_of[stamp] = Answer(pose, received, values.get(stamp, {}))
    return heard_of


def results(sample: Sample, played: list[dict[str, Any]], heard: dict[int, Answer]) -> list[QueryResult]:
    """Each played image with truth and answer. Latency: from publishing it to hearing its transform."""
    made = []
    for row in played:
        answer = heard.get(row["stamp"], Answer(None, None, {}))
        found = answer.map_from_camera is not None
        values = answer.values
        latency = None if answer.received is None else (answer.received - row["published"]) / 1e6
        reason = values.get("reason", "no answer from the node")
        made.append(
            QueryResult(
                number=row["number"],
                stamp=row["stamp"] / 1e9,
                true_map_from_camera=sample.frames.pose(row["number"]),
                map_from_camera=answer.map_from_camera,
                reason="" if found else reason,
                num_inliers=int(values["inliers"]) if "inliers" in values else None,
                inlier_ratio=float(values["inlier_ratio"]) if "inlier_ratio" in values else None,
                latency_ms=latency,
            )
        )
    return made
