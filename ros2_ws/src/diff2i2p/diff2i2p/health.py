"""The node's state and the diagnostic level derived from it (table in docs/ros2.md)."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from diff2i2p.parameters import Parameters

LOG_PERIOD = 5.0
"""Minimum seconds between two log lines about the same kind of fault."""

DEPTH_MISSING = (
    "the weights need depth images: set use_depth and remap depth (depth:=TOPIC in the launch file), "
    "or use weights of the mode mono"
)

NOTHING_YET = (DiagnosticStatus.WARN, "no image processed yet")


@dataclass
class Health:
    """Written by the threads of the executor and of the worker. Times are from the monotonic clock."""

    parameters: Parameters | None = None
    state: str = "unconfigured"
    failure: str = ""
    """Why the node cannot work at all; empty if it can."""
    map: str = ""
    """Where the map came from; empty while there is no map."""
    needs_depth: bool = False
    """Whether the map's weights need depth images."""
    troubles: dict[str, str] = field(default_factory=dict)
    """The last fault of each topic, until a good message arrives."""
    outcome: tuple[bytes, str] = NOTHING_YET
    """Level and message for the last processed image."""
    since: float = field(default_factory=time.monotonic)
    seen: dict[str, float] = field(default_factory=dict)
    """When the last good message of each topic arrived."""
    counts: Counter[str] = field(default_factory=Counter)
    values: dict[str, str] = field(default_factory=dict)
    _logged: dict[str, float] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def enter(self, state: str) -> None:
        with self._lock:
            self.state = state
            self.since = time.monotonic()
            self.seen.clear()
            self.troubles.clear()
            self.outcome = NOTHING_YET

    def saw(self, topic: str) -> None:
        with self._lock:
            self.seen[topic] = time.monotonic()

    def expect(self, topic: str) -> None:
        """From now on, report the topic as missing if nothing arrives."""
        with self._lock:
            self.seen.setdefault(topic, time.monotonic())

    def recovered(self, *topics: str) -> None:
        """Forget the last fault of these topics."""
        with self._lock:
            for topic in topics:
                self.troubles.pop(topic, None)

    def count(self, name: str, by: int = 1) -> None:
        with self._lock:
            self.counts[name] += by

    def fault(self, topic: str, message: str) -> bool:
        """Count a fault of a message on `topic`. True if it should be logged now."""
        with self._lock:
            self.counts[f"{topic}_faults"] += 1
            self.values["last_fault"] = message
            self.troubles[topic] = message
            now = time.monotonic()
            due = now - self._logged.get(topic, -LOG_PERIOD) >= LOG_PERIOD
            if due:
                self._logged[topic] = now
            return due

    def judge(self) -> tuple[bytes, str]:
        """Level and message for /diagnostics; the most basic fault comes first."""
        with self._lock:
            if self.failure:
                return DiagnosticStatus.ERROR, self.failure
            if self.state != "active" or self.parameters is None:
                return DiagnosticStatus.OK, self.state
            waited = time.monotonic() - self.since
            if self.needs_depth and not self.parameters.use_depth:
                return DiagnosticStatus.ERROR, DEPTH_MISSING
            blocking = ("camera_info", "image", "depth", "tf") if self.map else ("map_cloud",)
            for topic in blocking:
                if topic in self.troubles:
                    return DiagnosticStatus.ERROR, self.troubles[topic]
            if not self.map:
                late = waited > self.parameters.map_timeout
                words = f"no map for {self.parameters.map_timeout:g} s" if late else "waiting for the map"
                return (DiagnosticStatus.ERROR if late else DiagnosticStatus.WARN), words
            for topic in ("camera_info", "image"):
                if topic not in self.seen:
                    return DiagnosticStatus.WARN, f"no {topic} yet"
            timeout = self.parameters.image_timeout
            for topic, words in (("image", "no image"), ("pair", "no depth with the stamps of the images")):
                # There is no "pair" before the first image, or if depth is not used.
                if time.monotonic() - self.seen.get(topic, time.monotonic()) > timeout:
                    return DiagnosticStatus.WARN, f"{words} for {timeout:g} s"
            if self.outcome == NOTHING_YET and self.parameters.mode == "on_request":
                return DiagnosticStatus.OK, "waiting for a request"
            return self.outcome

    def status(self, name: str) -> DiagnosticStatus:
        """The complete message."""
        level, words = self.judge()
        with self._lock:
            values: dict[str, Any] = {"state": self.state, "map": self.map or "none"}
            values |= {name: self.counts[name] for name in COUNTERS} | self.values
        rows = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        return DiagnosticStatus(level=level, name=name, message=words, hardware_id="diff2i2p", values=rows)


COUNTERS = (
    "images_received",
    "images_dropped",
    "images_localized",
    "images_not_localized",
    "image_faults",
    "images_without_depth",
    "camera_info_faults",
    "depth_faults",
    "map_cloud_faults",
    "map_file_faults",
    "initialpose_faults",
    "transform_faults",
    "tf_faults",
    "pose_file_faults",
)
"""Counts since the node started; they are always in the message."""
