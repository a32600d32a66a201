"""Runs the ROS 2 node for hours: images at a steady rate, and, unless --calm, trouble of every kind.

Views of the map are drawn and published over DDS, and the node's poses are compared with the drawn ones.
Trouble: malformed messages, the map reloaded, stamps that jump by an hour, a camera that goes and returns.
Writes OUT/soak.json. Exit status 1: the node died, gave a false pose, lost images, was late, or grew.

    python tools/soak.py room.map OUT --seconds 1800 --calm    # sustained 10 Hz
    python tools/soak.py room.map OUT --seconds 7200           # soak
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diff2i2p_core.demo.node_process import check_ros, node_command, ros_environment
from diff2i2p_core.demo.processes import Child, children
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import exp, invert, rotation_error_deg, translation_error
from diff2i2p_core.io.files import check_output_folder, write_text
from diff2i2p_core.mapping.map_file import load_map
from diff2i2p_core.mapping.view_map import ViewMap
from diff2i2p_core.ops.render_view import render_view

if TYPE_CHECKING:
    from soak_robot import Robot

FALSE_METRES, FALSE_DEG = 0.25, 10.0
LATE_MS = 180.0
"""Of 95 % of the images, from publishing to the pose."""
GROWTH_MB, GROWTH_HANDLES = 50.0, 8
JUMP = 3_600 * 10**9
WARM_UP = 0.2
"""The fraction of the run after which memory, threads and handles are compared with those at the end."""
DRAWN = 40
APART = 0.05
"""Seconds between malformed messages: of those that come at once, the node takes only the last one."""


def drawn_path(view_map: ViewMap, camera: Camera) -> list[tuple[np.ndarray, np.ndarray]]:
    """Poses that sway around the map's richest view, there and back, and the images of the map from them."""
    views = view_map.views
    start = views.poses[int(np.argmax(views.counts))]
    path = []
    for angle in np.linspace(0, 2 * np.pi, DRAWN, endpoint=False):
        sine, cosine = np.sin(angle), np.cos(angle)
        pose = start @ exp([0, 0.05 * sine, 0, 0.1 * sine, 0.03 * np.sin(2 * angle), 0.05 * cosine])
        cloud = view_map.cloud.seen(invert(pose), camera, (0.1, views.settings.max_depth))
        path.append((pose, render_view(cloud, invert(pose), camera, view_map.spacing).image))
    return path


def resources(pid: int) -> dict[str, float]:
    """Private memory in MB, threads and file handles of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    status = dict(line.split(":\t", 1) for line in lines)
    return {
        "own_mb": int(status["RssAnon"].split()[0]) / 1e3,
        "threads": int(status["Threads"]),
        "handles": len(list(Path(f"/proc/{pid}/fd").iterdir())),
    }


class Soak:
    """One run. `sent` has the true pose and the time of sending of each good image by its stamp."""

    def __init__(
        self, robot: Robot, node: Child, path: list[tuple[np.ndarray, np.ndarray]], rate: float
    ) -> None:
        self.robot, self.node, self.path, self.rate = robot, node, path, rate
        self.sent: dict[int, tuple[np.ndarray, int]] = {}
        self.troubles: Counter[str] = Counter()
        self.samples: list[dict[str, float]] = []
        self._malformed = itertools.cycle(robot.malformed())
        self._offset, self._away_until = 0, 0.0
        self._last = 0

    def run(self, seconds: float, trouble_every: float | None) -> None:
        start = time.monotonic()
        kinds = itertools.cycle((self._send_malformed, self._reload, self._jump, self._go_away))
        next_trouble = start + (trouble_every or seconds + 1)
        for number in itertools.count():
            due = start + number / self.rate
            if due > start + seconds:
                break
            time.sleep(max(0.0, due - time.monotonic()))
            self.node.check()
            if number % max(1, round(self.rate)) == 0:
                self.robot.calibrate()  # as cameras do, and after malformed ones
                self.samples.append(resources(self.node.pid))
            if time.monotonic() > next_trouble:
                next(kinds)()
                next_trouble += trouble_every or seconds
            if time.monotonic() > self._away_until:
                self._send_good(number)
        time.sleep(3)  # for the last poses
        self.node.check()

    def _stamp(self) -> int:
        self._last = time.time_ns() + self._offset
        return self._last

    def _send_good(self, number: int) -> None:
        pose, pixels = self.path[number % len(self.path)]
        stamp = self._stamp()
        self.sent[stamp] = (pose, time.monotonic_ns())
        self.robot.send(pixels, stamp)

    def _send_malformed(self) -> None:
        for send in itertools.islice(self._malformed, 12):
            send(self._stamp())
            self.troubles["malformed messages"] += 1
            time.sleep(APART)
        self.robot.calibrate()

    def _reload(self) -> None:
        self.robot.reload_map()
        self.troubles["reloads"] += 1

    def _jump(self) -> None:
        """An hour back; the next time, an hour ahead again."""
        self._offset = 0 if self._offset else -JUMP
        self.troubles["jumps of the clock"] += 1

    def _go_away(self) -> None:
        self._away_until = time.monotonic() + 3.0
        self.troubles["times the camera was gone"] += 1

    def result(self) -> dict[str, Any]:
        """JSON types. `missed` lists the requirements that are not met."""
        poses = [(self.sent[stamp], at, pose) for stamp, at, pose in self.robot.poses if stamp in self.sent]
        latency = [(at - sent) / 1e6 for (_, sent), at, _ in poses]
        errors = [
            (translation_error(pose, true), rotation_error_deg(pose, true)) for (true, _), _, pose in poses
        ]
        false = sum(metres > FALSE_METRES or degrees > FALSE_DEG for metres, degrees in errors)
        warm = self.samples[int(len(self.samples) * WARM_UP)]
        end = self.samples[-1]
        growth = {key: round(end[key] - warm[key], 1) for key in end}
        p95 = float(np.quantile(latency, 0.95)) if latency else None
        calm = not self.troubles
        missed = [
            words
            for words, bad in {
                "no image was localized": not poses,
                "false poses": false > 0,
                f"95 % are later than {LATE_MS:.0f} ms": calm and (p95 is None or p95 > LATE_MS),
                "images without a pose": calm and len(poses) < len(self.sent),
                "memory grew": growth["own_mb"] > GROWTH_MB,
                "threads or handles grew": max(growth["threads"], growth["handles"]) > GROWTH_HANDLES,
            }.items()
            if bad
        ]
        return {
            "images": len(self.sent),
            "localized": len(poses),
            "false": false,
            "median_ms": float(np.median(latency)) if latency else None,
            "p95_ms": p95,
            "largest_error_m": max((metres for metres, _ in errors), default=None),
            "troubles": dict(self.troubles),
            "node": {
                key: v for key, v in self.robot.values.items() if key.endswith("_faults") or "images_" in key
            },
            "resources": {"after warm-up": warm, "at the end": end, "growth": growth},
            "missed": missed,
        }


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("map", type=Path, help="map file with rendered views")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for soak.json and the node's log")
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--rate", type=float, default=10.0, help="images per second")
    parser.add_argument("--calm", action="store_true", help="no trouble: latency and lost images count")
    options = parser.parse_args()
    try:
        check_ros()
        check_output_folder(options.out, [options.map], ("soak.json",))
        result = soak(options.map, options.out, options.seconds, options.rate, options.calm)
    except InputError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2
    write_text(options.out / "soak.json", json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    return 1 if result["missed"] else 0


def soak(map_path: Path, out: Path, seconds: float, rate: float, calm: bool) -> dict[str, Any]:
    rendered = load_map(map_path).rendered
    if rendered is None:
        raise InputError(f"{map_path}: has no rendered views; build it from a coloured cloud")
    environment = ros_environment(out)
    os.environ.update(environment)
    with children(environment, out) as group:
        node = group.start("node", node_command(map_path, None, {"matcher": "views"}, {}))
        from soak_robot import CAMERA, Robot

        robot = Robot()
        until = time.monotonic() + 300
        while robot.values.get("state") != "active" or not robot.image.get_subscription_count():
            node.check()
            if time.monotonic() > until:
                raise InputError(f"the node did not start; see {node.log}")
            time.sleep(0.1)
        robot.calibrate()
        path = drawn_path(rendered, CAMERA)
        run = Soak(robot, node, path, rate)
        run.run(seconds, None if calm else min(60.0, seconds / 8))
        return {"seconds": seconds, "rate": rate, **run.result()}


if __name__ == "__main__":
    sys.exit(main())
