"""Runs the ROS 2 node as a process, with a player and a listener that write JSON lines.

This module starts ROS programs with the same interpreter, but imports none.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from diff2i2p_core.demo.heard import MAP_FRAME, Row, answers, read_rows
from diff2i2p_core.demo.processes import Child, Children, children, wait_until
from diff2i2p_core.demo.ros_domain import claim_domain
from diff2i2p_core.errors import InputError

PLAYED = "player.jsonl"
"""The player's file in the log folder."""
READY_TIMEOUT = 120.0
"""Seconds for the node to start: importing torch, loading the map, DDS discovery."""
ERROR = 2
"""The level in diagnostics."""
FRAME_TIMEOUT = 40.0
"""Seconds without an answer for a frame. The player itself skips a frame after 30."""


def check_ros() -> None:
    """InputError that says how to fix it if the node cannot run."""
    fix = "run `make setup`, or source a ROS 2 installation and the workspace of ros2_ws"
    for module, what in (
        ("rclpy", "ROS 2 (rclpy)"),
        ("tf2_msgs", "tf2_msgs"),
        ("diff2i2p", "the ROS package diff2i2p"),
    ):
        if importlib.util.find_spec(module) is None:
            raise InputError(f"{what} is not installed for {sys.executable}; {fix}")


def ros_environment(log_folder: Path) -> dict[str, str]:
    """The environment of the processes: this host only, a separate domain, enough memory for images."""
    environment = dict(os.environ)
    environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    environment["ROS_DOMAIN_ID"] = _own_domain()
    environment["ROS_LOG_DIR"] = str(log_folder / "ros")
    environment["PYTHONUNBUFFERED"] = "1"
    profile = fastdds_profile()
    if profile is not None:
        environment["FASTRTPS_DEFAULT_PROFILES_FILE"] = str(profile)
    return environment


@cache
def _own_domain() -> str:
    return claim_domain()


def fastdds_profile() -> Path | None:
    """The ROS package's fastdds.xml, from its source folder or the installation. None if there is none."""
    package = importlib.util.find_spec("diff2i2p")
    folders = [Path(package.origin).parents[1]] if package is not None and package.origin else []
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    folders += [Path(prefix) / "share" / "diff2i2p" for prefix in prefixes if prefix]
    return next((p for folder in folders if (p := folder / "config" / "fastdds.xml").is_file()), None)


def module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"diff2i2p.{name}", *arguments]


def node_command(
    map_path: Path, weights: Path | str | None, parameters: dict[str, Any], remappings: dict[str, str]
) -> list[str]:
    """The command for the node with a map file and additional `parameters` and `remappings`."""
    values: dict[str, Any] = {"map": str(map_path.resolve()), "map_frame": MAP_FRAME, **parameters}
    if weights is not None:
        values["weights"] = str(Path(weights).resolve()) if Path(weights).exists() else str(weights)
    return [
        *module("localization_node"),
        "--ros-args",
        *(word for key, value in values.items() for word in ("-p", f"{key}:={json.dumps(value)}")),
        *(word for name, topic in remappings.items() for word in ("-r", f"{name}:={topic}")),
    ]


def play(
    node: list[str],
    player: list[str],
    log_folder: Path,
    count: int,
    progress: Callable[[int], None] | None,
    patience: float = FRAME_TIMEOUT,
) -> tuple[list[Row], list[Row]]:
    """Run node, listener and player until the player ends. Returns the rows of player and listener.

    `node` and `player` are commands. The player writes a row for each of `count` images to `PLAYED` in the
    log folder. If the last row says `answered`, the listener gets time to receive that answer.

    Raises:
        InputError: a process failed (with its last output), or there is no progress for `patience` seconds.
    """
    heard, played = log_folder / "listener.jsonl", log_folder / PLAYED
    for path in (heard, played):
        path.unlink(missing_ok=True)
    with children(ros_environment(log_folder), log_folder) as group:
        group.start("listener", module("demo_listener", str(heard)))
        group.start("node", node)
        wait_until(lambda: is_ready(heard), group, "the node to start", READY_TIMEOUT)
        _follow(group.start("player", player), group, heard, played, count, progress, patience)
        last = [row["stamp"] for row in read_rows(played) if row.get("answered")][-1:]
        # The transform is sent before the diagnostics that the player waits for. Give the listener a moment.
        settled = lambda: not last or last[0] in answers(read_rows(heard), "tf")  # noqa: E731
        wait_until(settled, group, "the last answer", 5.0)
    return list(read_rows(played)), list(read_rows(heard))


def is_ready(heard: Path) -> bool:
    """Whether the node is active and the listener receives from it. InputError if configuring failed."""
    state = node_state(heard)
    return state == "active" and any(row["kind"] == "ready" for row in read_rows(heard))


def node_state(heard: Path) -> str:
    """The node's lifecycle state, empty before its first message. InputError with its message on a fault."""
    states = [row for row in read_rows(heard) if row["kind"] == "diagnostics" and "state" in row["values"]]
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
    patience: float,
) -> None:
    """Wait until the player ends. InputError if a process fails or nothing happens for `patience` seconds."""
    done, moved = 0, time.monotonic()
    while player.status is None:
        group.check()
        node_state(heard)
        now_done = sum(1 for _ in read_rows(played))
        if now_done > done:
            done, moved = now_done, time.monotonic()
            if progress is not None:
                progress(done)
        if time.monotonic() - moved > (max(READY_TIMEOUT, patience) if done == 0 else patience):
            raise InputError(f"the player stopped after {done} of {count} images; see {player.log.parent}")
        time.sleep(0.05)
    group.check()
    if progress is not None:
        progress(count)
