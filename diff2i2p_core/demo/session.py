"""The ROS 2 part of the demo: node, listener and player as processes on DDS of this host, and what they say.

This module starts ROS programs but imports none: they run with the same interpreter.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diff2i2p_core.demo.processes import Child, Children, children, wait_until
from diff2i2p_core.demo.sample import Sample
from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.geometry.se3 import Array, from_quaternion

MAP_FRAME = "map"
READY_TIMEOUT = 120.0
"""Seconds for the node to start: importing torch, loading the map, DDS discovery."""
ERROR = 2
"""Level of diagnostics."""
FRAME_TIMEOUT = 40.0
"""Seconds without an answer about a frame; the player itself gives up a frame after 30."""


@dataclass(frozen=True)
class Answer:
    """What the listener heard about one image."""

    map_from_camera: Array | None
    received: int | None
    """Monotonic nanoseconds at which the transform came."""
    values: dict[str, str]
    """The diagnostics' values about this image."""


def check_ros() -> None:
    """InputError with the mend where the node cannot run."""
    mend = "run `make setup`, or source a ROS 2 installation and the workspace of ros2_ws"
    for module, what in (
        ("rclpy", "ROS 2 (rclpy)"),
        ("tf2_msgs", "tf2_msgs"),
        ("diff2i2p", "the ROS package diff2i2p"),
    ):
        if importlib.util.find_spec(module) is None:
            raise InputError(f"{what} is not installed for {sys.executable}; {mend}")


def ros_environment(log_folder: Path) -> dict[str, str]:
    """The environment of the demo's processes: this host only, a domain of its own, room for images."""
    environment = dict(os.environ)
    environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    environment["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 101)
    environment["ROS_LOG_DIR"] = str(log_folder / "ros")
    environment["PYTHONUNBUFFERED"] = "1"
    profile = fastdds_profile()
    if profile is not None:
        environment["FASTRTPS_DEFAULT_PROFILES_FILE"] = str(profile)
    return environment


def fastdds_profile() -> Path | None:
    """The ROS package's fastdds.xml, in its source folder or installed; None if it has none."""
    found = importlib.util.find_spec("diff2i2p")
    folders = [Path(found.origin).parents[1]] if found is not None and found.origin else []
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    folders += [Path(prefix) / "share" / "diff2i2p" for prefix in prefixes if prefix]
    return next((p for folder in folders if (p := folder / "config" / "fastdds.xml").is_file()), None)


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
        group.start("listener", _module("demo_listener", str(heard)))
        group.start("node", [*_module("localization_node"), *_node_parameters(map_path, weights)])
        wait_until(lambda: _is_ready(heard), group, "the node to start and be heard", READY_TIMEOUT)
        numbers = ",".join(str(number) for number in sample.query_numbers)
        player = group.start(
            "player",
            _module(
                "demo_player",
                str(sample.frames.folder),
                str(played),
                "--numbers",
                numbers,
                "--start",
                str(start),
            ),
        )
        _follow(player, group, heard, played, len(sample.query_numbers), progress)
        last = [row["stamp"] for row in _rows(played) if row["answered"]][-1:]
        # The transform goes out before the diagnostics that let the player go on; give the listener a moment.
        settled = lambda: not last or last[0] in answers(_rows(heard))  # noqa: E731
        wait_until(settled, group, "the last answer", 5.0)
    return results(sample, list(_rows(played)), answers(_rows(heard)))


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"diff2i2p.{name}", *arguments]


def _node_parameters(map_path: Path, weights: str | None) -> list[str]:
    values = {"map": str(map_path.resolve()), "map_frame": MAP_FRAME}
    if weights is not None:
        values["weights"] = str(Path(weights).resolve()) if Path(weights).exists() else weights
    return [
        "--ros-args",
        *(word for key, value in values.items() for word in ("-p", f"{key}:={json.dumps(value)}")),
    ]


def _is_ready(heard: Path) -> bool:
    """Whether the listener hears the node, and it is active; InputError if it could not be configured."""
    state = _node_state(heard)
    return state == "active" and any(row["kind"] == "ready" for row in _rows(heard))


def _node_state(heard: Path) -> str:
    """The node's lifecycle state, empty before it is heard; InputError with its words if it is in trouble."""
    states = [row for row in _rows(heard) if row["kind"] == "diagnostics" and "state" in row["values"]]
    if not states:
        return ""
    if states[-1]["level"] == ERROR:
        raise InputError(f"the ROS 2 node says: {states[-1]['message']}")
    return str(states[-1]["values"]["state"])


def _follow(
    player: Child,
    group: Children,
    heard: Path,
    played: Path,
    count: int,
    progress: Callable[[int], None] | None,
) -> None:
    """Until the player has ended; InputError if a process fails or nothing moves for too long."""
    done, moved = 0, time.monotonic()
    while player.status is None:
        group.check()
        _node_state(heard)
        now_done = sum(1 for _ in _rows(played))
        if now_done > done:
            done, moved = now_done, time.monotonic()
            if progress is not None:
                progress(done)
        if time.monotonic() - moved > (READY_TIMEOUT if done == 0 else FRAME_TIMEOUT):
            raise InputError(
                f"the player stands still after {done} of {count} images; see {player.log.parent}"
            )
        time.sleep(0.05)
    group.check()
    if progress is not None:
        progress(count)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a JSON lines file that may still be written to."""
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)


def answers(heard: Iterator[dict[str, Any]]) -> dict[int, Answer]:
    """What the listener heard, by image stamp in nanoseconds."""
    poses: dict[int, tuple[Array, int]] = {}
    values: dict[int, dict[str, str]] = {}
    for row in heard:
        if row["kind"] == "tf" and row["parent"] == MAP_FRAME:
            pose = from_quaternion(row["translation"], row["quaternion"])
            poses.setdefault(row["stamp"], (pose, row["received"]))
        elif row["kind"] == "diagnostics" and "last_stamp" in row["values"]:
            seconds, nanoseconds = row["values"]["last_stamp"].split(".")
            values[int(seconds) * 1_000_000_000 + int(nanoseconds)] = row["values"]
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
