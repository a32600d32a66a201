"""Pairs images with depth by their stamps, exactly or approximately, and counts images without depth.

message_filters finds the pairs. It gets messages that are checked already, and tells nobody which ones it
gives up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from rclpy.duration import Duration

from diff2i2p.packages import package
from diff2i2p.poses import nanoseconds

message_filters: Any = package("message_filters")

WAITING = 8
"""Maximum number of messages of a stream that wait for their partner."""

First = TypeVar("First")


class StampPairing(Generic[First]):
    """Passes on each item of `first` once, with the nearest message of `second` within the tolerance.

    Items older than a complete pair are given up. Not thread-safe.
    """

    def __init__(self, on_pair: Callable[[First, Any], None], on_unpaired: Callable[[], None]) -> None:
        """`on_unpaired` is called for each item of `first` that is given up."""
        self._on_pair = on_pair
        self._on_unpaired = on_unpaired
        self.reset()

    def first(self, message: Any, item: First, tolerance: int) -> None:
        """`item` belongs to `message`, which has a header; `tolerance` in nanoseconds."""
        self._waiting[nanoseconds(message.header.stamp)] = item
        self._signal(0, message, tolerance)
        while len(self._waiting) > WAITING:
            self._give_up(min(self._waiting))

    def second(self, message: Any, tolerance: int) -> None:
        self._signal(1, message, tolerance)

    def reset(self) -> None:
        """Forget what waits."""
        self._waiting: dict[int, First] = {}
        self._pair: tuple[Any, Any] | None = None
        self._sources = [message_filters.SimpleFilter() for _ in range(2)]
        self._synchronizer = message_filters.ApproximateTimeSynchronizer(self._sources, WAITING, 0.0)
        self._synchronizer.registerCallback(self._found)

    def _signal(self, stream: int, message: Any, tolerance: int) -> None:
        self._synchronizer.slop = Duration(nanoseconds=tolerance + 1)  # it wants less than that
        self._pair = None
        self._sources[stream].signalMessage(message)
        if self._pair is None:
            return
        first, second = self._pair
        stamp = nanoseconds(first.header.stamp)
        item = self._waiting.pop(stamp, None)
        for older in [waits for waits in self._waiting if waits < stamp]:
            self._give_up(older)
        if item is not None:  # else it was given up before
            self._on_pair(item, second)

    def _found(self, first: Any, second: Any) -> None:
        """Under the lock of message_filters, which an exception would keep locked: only note the pair."""
        self._pair = first, second

    def _give_up(self, stamp: int) -> None:
        del self._waiting[stamp]
        self._on_unpaired()
