"""Frequency and stamps of images and poses in /diagnostics, as diagnostic_updater reports them."""

from __future__ import annotations

import time
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from ros_harness import Robot, wait_for

from diff2i2p.topic_status import TopicStatus

OK, WARN, ERROR = 0, 1, 2
SECOND = 10**9
REPO = Path(__file__).resolve().parents[2]


def judged(
    status: TopicStatus, minimum: float = 0.0, *, required: bool = True
) -> tuple[int, str, dict[str, str]]:
    found = status.status("diff2i2p", minimum, required=required)
    return found.level[0], found.message, {row.key: row.value for row in found.values}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock of the status; its one value can be changed."""
    now = [100.0]
    monkeypatch.setattr("diff2i2p.topic_status.time.monotonic", lambda: now[0])
    return now


def test_frequency_over_the_last_five_updates(clock: list[float]) -> None:
    status = TopicStatus("image")
    for second in range(1, 9):
        clock[0] = 100.0 + second
        for _ in range(10 if second <= 3 else 5):
            status.tick(0, 0)
        level, words, values = judged(status, 9.0)
        rates = {3: "10.000000", 8: "5.000000"}
        assert values["Actual frequency (Hz)"] == rates.get(second, values["Actual frequency (Hz)"])
    assert (level, words) == (WARN, "Frequency too low.")
    assert values["Events in window"] == "25" and values["Events since startup"] == "55"
    assert values["Minimum acceptable frequency (Hz)"] == "8.100000"
    assert judged(status, 5.5)[0] == OK  # a tenth less is tolerated


def test_no_messages(clock: list[float]) -> None:
    status = TopicStatus("pose")
    clock[0] += 1
    assert judged(status)[:2] == (ERROR, "No events recorded.")
    assert judged(status, required=False)[:2] == (OK, "No events recorded.; No data since last update.")


def test_stamps_of_another_time(clock: list[float]) -> None:
    status = TopicStatus("image")
    clock[0] += 1
    status.tick(90 * SECOND, 91 * SECOND)
    assert judged(status)[:2] == (OK, "Desired frequency met; Timestamps are reasonable.")
    status.tick(93 * SECOND, 91 * SECOND)
    level, words, values = judged(status)
    assert (level, words) == (ERROR, "Timestamps too far in future seen.")
    assert values["Earliest timestamp delay:"] == "-2.000000"
    status.tick(80 * SECOND, 91 * SECOND)
    level, words, values = judged(status, 100.0)
    assert (level, words) == (ERROR, "Frequency too low.; Timestamps too far in past seen.")
    assert values["Late diagnostic update count:"] == values["Early diagnostic update count:"] == "1"
    assert judged(status)[0] == OK  # as it persists no longer


def test_the_node_reports_its_topics(robot: Robot, launch_node: Callable[..., Any], map_file: str) -> None:
    launch_node(map=map_file, min_pose_rate=1000.0)
    robot.wait_camera_matched()
    robot.calibrate()

    def newest(topic: str) -> Any:
        robot.send_image(1, time.time_ns())
        named = [one for one in robot.topic_statuses if one.name == f"diff2i2p: {topic} topic status"]
        return named[-1] if named else None

    def says(topic: str, level: int, words: str) -> bool:
        found = newest(topic)
        return found is not None and (found.level[0], found.message) == (level, words)

    wait_for(lambda: says("image", OK, "Desired frequency met; Timestamps are reasonable."), "images", 20)
    wait_for(lambda: says("pose", WARN, "Frequency too low."), "poses", 20)
    robot.wait_status(OK, "localized")


def test_the_aggregator_file_matches_what_is_published(
    robot: Robot, launch_node: Callable[..., Any], map_file: str
) -> None:
    launch_node(map=map_file)
    wait_for(lambda: len(robot.topic_statuses) >= 2, "the topics")
    text = (REPO / "ros2_ws/src/diff2i2p/config/diagnostics.yaml").read_text(encoding="utf-8")
    wanted = yaml.safe_load(text)["analyzers"]["ros__parameters"]["localization"]["contains"]
    names = {status.name for status in (*robot.topic_statuses, *robot.diagnostics)}
    assert len(names) == len(wanted) == 3
    assert all(any(fnmatch(name, f"*{part}*") for part in wanted) for name in names)
