"""Pairs the messages of two streams by their stamps, exactly or approximately.

Used instead of message_filters, which not every installation has. So images are checked and counted before
they are paired, and the behaviour is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

WAITING = 8
"""Maximum number of messages of a stream that wait for their partner."""


class StampPairing:
    """Passes on each message of `first` once, with the nearest one of `second` within the tolerance.

    When a pair is complete, everything older in both streams is dropped. Not thread-safe.
    """

    def __init__(self, on_pair: Callable[[Any, Any], None], on_unpaired: Callable[[], None]) -> None:
        """`on_unpaired` is called for each message of `first` that is dropped."""
        self._on_pair = on_pair
        self._on_unpaired = on_unpaired
        self._waiting: tuple[dict[int, Any], dict[int, Any]] = ({}, {})

    def first(self, stamp: int, message: Any, tolerance: int) -> None:
        """`stamp` and `tolerance` in nanoseconds."""
        self._add(0, stamp, message, tolerance)

    def second(self, stamp: int, message: Any, tolerance: int) -> None:
        self._add(1, stamp, message, tolerance)

    def reset(self) -> None:
        for waiting in self._waiting:
            waiting.clear()

    def _add(self, stream: int, stamp: int, message: Any, tolerance: int) -> None:
        queue, others = self._waiting[stream], self._waiting[1 - stream]
        queue[stamp] = message
        partner = min(others, key=lambda other: abs(other - stamp), default=None)
        if partner is None or abs(partner - stamp) > tolerance:
            if len(queue) > WAITING:
                self._drop(stream, min(queue))
            return
        other = others.pop(partner)
        del queue[stamp]
        for which, end in ((stream, stamp), (1 - stream, partner)):
            for older in [waits for waits in self._waiting[which] if waits < end]:
                self._drop(which, older)
        self._on_pair(*((message, other) if stream == 0 else (other, message)))

    def _drop(self, stream: int, stamp: int) -> None:
        del self._waiting[stream][stamp]
        if stream == 0:
            self._on_unpaired()
