"""How many messages of a topic DDS has lost lately."""

from __future__ import annotations

import time
from collections import deque

WINDOW = 10.0
"""Seconds that count as lately."""

FEWEST = 10
"""Minimum number of messages, received and lost, to judge by."""


class RecentLoss:
    """Counts over the last `WINDOW` seconds. Not thread-safe."""

    def __init__(self) -> None:
        self._events: deque[tuple[float, int, int]] = deque()

    def add(self, *, received: int = 0, lost: int = 0) -> None:
        self._events.append((time.monotonic(), received, lost))

    @property
    def share(self) -> float:
        """The fraction of the messages that were lost; 0 if there were too few to judge by."""
        begin = time.monotonic() - WINDOW
        while self._events and self._events[0][0] < begin:
            self._events.popleft()
        lost = sum(event[2] for event in self._events)
        total = lost + sum(event[1] for event in self._events)
        return lost / total if total >= FEWEST else 0.0
