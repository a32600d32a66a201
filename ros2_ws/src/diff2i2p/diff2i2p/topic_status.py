"""Frequency and stamps of a topic as a diagnostic status, with the conventions of diagnostic_updater.

Names, keys, messages and levels are those of its TopicDiagnostic, which PyPI does not have.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

TOLERANCE = 0.1
"""Fraction by which the frequency may be lower than the minimum."""

WINDOW = 5
"""Number of updates, one per second, over which the frequency is measured."""

FUTURE, PAST = -1.0, 5.0
"""Acceptable seconds from a message's stamp to its arrival."""

Verdict = tuple[bytes, str]


class TopicStatus:
    """`tick` for each message, `status` once per second; on any thread."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._lock = threading.Lock()
        self._count = self._late = self._early = 0
        self.restart()

    def restart(self) -> None:
        """Measure the frequency from now on."""
        with self._lock:
            self._updates = deque([(time.monotonic(), self._count)], maxlen=WINDOW)
            self._delays: list[float] = []

    def tick(self, stamp: int, now: int) -> None:
        """A message with this stamp; nanoseconds of the node's time."""
        with self._lock:
            self._count += 1
            self._delays.append((now - stamp) / 1e9)

    def status(self, node: str, minimum: float, *, required: bool) -> DiagnosticStatus:
        """The status of the topic of the node. `minimum`: acceptable messages per second; `required`: none at
        all is an error."""
        with self._lock:
            frequency, rows = self._frequency(minimum, required)
            stamps, more = self._stamps()
        level, words = _merged(frequency, stamps)
        values = [KeyValue(key=key, value=value) for key, value in (rows | more).items()]
        name = f"{node}: {self._topic} topic status"
        return DiagnosticStatus(level=level, name=name, message=words, hardware_id="diff2i2p", values=values)

    def _frequency(self, minimum: float, required: bool) -> tuple[Verdict, dict[str, str]]:
        begin, before = self._updates[0]
        now = time.monotonic()
        self._updates.append((now, self._count))
        events, window = self._count - before, max(now - begin, 1e-9)
        least = minimum * (1 - TOLERANCE)
        rows = {
            "Events in window": str(events),
            "Events since startup": str(self._count),
            "Duration of window (s)": f"{window:.6f}",
            "Actual frequency (Hz)": f"{events / window:.6f}",
        }
        if minimum > 0:
            rows["Minimum acceptable frequency (Hz)"] = f"{least:.6f}"
        if events == 0:
            level = DiagnosticStatus.ERROR if required else DiagnosticStatus.OK
            return (level, "No events recorded."), rows
        if events / window < least:
            return (DiagnosticStatus.WARN, "Frequency too low."), rows
        return (DiagnosticStatus.OK, "Desired frequency met"), rows

    def _stamps(self) -> tuple[Verdict, dict[str, str]]:
        """Of the messages since the last update. None at all is no fault: the topic may be slow."""
        least, most = min(self._delays, default=0.0), max(self._delays, default=0.0)
        verdict = (DiagnosticStatus.OK, "Timestamps are reasonable.")
        if not self._delays:
            verdict = (DiagnosticStatus.OK, "No data since last update.")
        if least < FUTURE:
            verdict = (DiagnosticStatus.ERROR, "Timestamps too far in future seen.")
            self._early += 1
        if most > PAST:
            verdict = (DiagnosticStatus.ERROR, "Timestamps too far in past seen.")
            self._late += 1
        self._delays = []
        return verdict, {
            "Earliest timestamp delay:": f"{least:.6f}",
            "Latest timestamp delay:": f"{most:.6f}",
            "Earliest acceptable timestamp delay:": f"{FUTURE:.6f}",
            "Latest acceptable timestamp delay:": f"{PAST:.6f}",
            "Late diagnostic update count:": str(self._late),
            "Early diagnostic update count:": str(self._early),
        }


def _merged(first: Verdict, second: Verdict) -> Verdict:
    """Both messages if both are good or both are bad, else the bad one."""
    (level, words), (other, more) = first, second
    if (level > DiagnosticStatus.OK) == (other > DiagnosticStatus.OK):
        words = f"{words}; {more}"
    elif other > level:
        words = more
    return max(level, other), words
