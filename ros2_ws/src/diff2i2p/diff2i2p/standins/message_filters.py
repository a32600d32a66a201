"""The part of message_filters that the node uses: pairs of two streams, approximately by stamp."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.duration import Duration
from rclpy.time import Time


class SimpleFilter:
    """Passes messages on to callbacks."""

    def __init__(self) -> None:
        self._callbacks: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def registerCallback(self, cb: Callable[..., Any], *args: Any) -> int:
        self._callbacks.append((cb, args))
        return len(self._callbacks) - 1

    def signalMessage(self, *msg: Any) -> None:
        for callback, arguments in self._callbacks:
            callback(*msg, *arguments)


class ApproximateTimeSynchronizer(SimpleFilter):
    """Passes on pairs of messages whose stamps differ by less than `slop` seconds, each message once.

    A new message gets the nearest one of the other stream. Only the newest `queue_size` of each wait.
    """

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int, slop: float) -> None:
        super().__init__()
        self.slop = Duration(seconds=slop)
        self.queue_size = queue_size
        self.queues: tuple[dict[int, Any], dict[int, Any]] = ({}, {})
        self.lock = threading.Lock()
        for index, source in enumerate(fs):
            source.registerCallback(self._add, index)

    def _add(self, message: Any, index: int) -> None:
        with self.lock:
            queue, others = self.queues[index], self.queues[1 - index]
            stamp = Time.from_msg(message.header.stamp).nanoseconds
            queue[stamp] = message
            while len(queue) > self.queue_size:
                del queue[min(queue)]
            partner = min(others, key=lambda other: abs(other - stamp), default=None)
            if stamp not in queue or partner is None or abs(partner - stamp) >= self.slop.nanoseconds:
                return
            other = others[partner]
            self.signalMessage(*((message, other) if index == 0 else (other, message)))
            del queue[stamp], others[partner]
