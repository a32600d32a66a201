"""The node's state and the diagnostic level derived from it (table in docs/ros2.md)."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from diff2i2p.loss import RecentLoss
from diff2i2p.parameters import Parameters
from diff2i2p.topic_status import TopicStatus

LOG_PERIOD = 5.0
"""Minimum seconds between two log lines about the same kind of fault."""

DEPTH_MISSING = (
    "the weights need depth images: set use_depth and remap depth (depth:=TOPIC in the launch file), "
    "or use weights of the mode mono"
)

OF_IMAGES = ("image", "depth", "tf")
"""Subjects whose faults come with images."""

MOST_LOST = 0.1
"""Fraction of the images whose loss is not worth a warning."""

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
    notes: dict[str, str] = field(default_factory=dict)
    """What is wrong although images are localized, by subject."""
    image_loss: RecentLoss = field(default_factory=RecentLoss)
    outcome: tuple[bytes, str] = NOTHING_YET
    """Level and message for the last processed image."""
    decided: float = 0.0
    """When that was known."""
    since: float = field(default_factory=time.monotonic)
    seen: dict[str, float] = field(default_factory=dict)
    """When the last good message of each topic arrived."""
    refused: dict[str, float] = field(default_factory=dict)
    """When the last fault of each topic was noticed."""
    images: TopicStatus = field(default_factory=lambda: TopicStatus("image"))
    poses: TopicStatus = field(default_factory=lambda: TopicStatus("pose"))
    counts: Counter[str] = field(default_factory=Counter)
    values: dict[str, str] = field(default_factory=dict)
    _logged: dict[str, float] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def enter(self, state: str) -> None:
        with self._lock:
            self.state = state
            self.since = time.monotonic()
            self.seen.clear()
            self.refused.clear()
            self.troubles.clear()
            self.notes.clear()
            self.image_loss = RecentLoss()
            self.outcome = NOTHING_YET
            self.images.restart()
            self.poses.restart()

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

    def decide(self, level: bytes, words: str) -> None:
        """What the last image has come to."""
        with self._lock:
            self.outcome = level, words
            self.decided = time.monotonic()

    def count(self, name: str, by: int = 1) -> None:
        with self._lock:
            self.counts[name] += by

    def note(self, subject: str, words: str) -> None:
        """A warning that holds until it is replaced, or taken back with empty `words`."""
        with self._lock:
            self.notes.pop(subject, None)
            if words:
                self.notes[subject] = words

    def image_arrived(self) -> None:
        """On either topic, good or bad."""
        with self._lock:
            self.image_loss.add(received=1)

    def images_lost(self, count: int) -> None:
        """DDS has noticed that images were lost on the way."""
        with self._lock:
            self.counts["images_lost"] += count
            self.image_loss.add(lost=count)

    def fault(self, topic: str, message: str) -> bool:
        """Count a fault of a message on `topic`. True if it should be logged now."""
        with self._lock:
            self.counts[f"{topic}_faults"] += 1
            self.values["last_fault"] = message
            self.troubles[topic] = message
            now = self.refused[topic] = time.monotonic()
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
            if not self.map:
                if "map_cloud" in self.troubles:
                    return DiagnosticStatus.ERROR, self.troubles["map_cloud"]
                late = waited > self.parameters.map_timeout
                words = f"no map for {self.parameters.map_timeout:g} s" if late else "waiting for the map"
                return (DiagnosticStatus.ERROR if late else DiagnosticStatus.WARN), words
            return self._judge_camera(self.parameters)

    def _judge_camera(self, parameters: Parameters) -> tuple[bytes, str]:
        """While there is a map. A camera that has stopped comes before the faults of its last image."""
        faults = [self.troubles[topic] for topic in OF_IMAGES if topic in self.troubles]
        timeout = parameters.image_timeout
        if "camera_info" in self.troubles:
            return DiagnosticStatus.ERROR, self.troubles["camera_info"]
        if min(self._silent_for("image"), time.monotonic() - self.decided) > timeout:
            words = f"; before that: {faults[0]}" if faults else ""
            return DiagnosticStatus.WARN, f"no image for {timeout:g} s{words}"
        if faults:
            return DiagnosticStatus.ERROR, faults[0]
        for topic in ("camera_info", "image"):
            if topic not in self.seen:
                return DiagnosticStatus.WARN, f"no {topic} yet"
        if self._silent_for("pair") > timeout:
            return DiagnosticStatus.WARN, f"no depth with the stamps of the images for {timeout:g} s"
        outcome = self.outcome
        if outcome == NOTHING_YET and parameters.mode == "on_request":
            outcome = (DiagnosticStatus.OK, "waiting for a request")
        doubts = [*self.notes.values(), *self._loss()]
        if outcome[0] == DiagnosticStatus.OK and doubts:
            return DiagnosticStatus.WARN, f"{outcome[1]}, but {doubts[0]}"
        return outcome

    def _silent_for(self, topic: str) -> float:
        """Seconds since its last message, good or bad; 0 if it never had a good one (there is no "pair"
        before the first image, or if depth is not used)."""
        if topic not in self.seen:
            return 0.0
        return time.monotonic() - max(self.seen[topic], self.refused.get(topic, 0.0))

    def _loss(self) -> list[str]:
        share = self.image_loss.share
        if share <= MOST_LOST:
            return []
        return [
            f"{share:.0%} of the images are lost on the way: give the camera driver the DDS profile, too "
            "(docs/ros2.md)"
        ]

    def topics(self, node: str) -> list[DiagnosticStatus]:
        """The status of the topics of images and poses; empty while the node does not work."""
        p = self.parameters
        if self.state != "active" or p is None:
            return []
        return [
            self.images.status(node, p.min_image_rate, required=True),
            self.poses.status(node, p.min_pose_rate, required=p.min_pose_rate > 0),
        ]

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
    "images_lost",
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
    "odom_faults",
    "tf_faults",
    "pose_file_faults",
)
"""Counts since the node started; they are always in the message."""
