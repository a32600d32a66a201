"""Answers to service calls that come from another thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future

Answer = tuple[bool, str]


class Answers:
    """Requests that a service's coroutine awaits and another thread answers, so nothing blocks."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._waiting: list[tuple[Future, float, float]] = []

    def __bool__(self) -> bool:
        """Whether any request is waiting."""
        return bool(self._waiting)

    def ask(self, timeout: float) -> Future:
        """Returns a future of an `Answer`."""
        future, now = Future(), time.monotonic()
        with self._lock:
            self._waiting.append((future, now, now + timeout))
        return future

    def answer(self, answer: Answer, *, asked_before: float | None = None) -> None:
        """Answer all requests, or only those made before a monotonic time."""
        self._finish(answer, lambda asked, _: asked_before is None or asked <= asked_before)

    def expire(self, words: str) -> None:
        """Answer the requests that have timed out, with failure."""
        now = time.monotonic()
        self._finish((False, words), lambda _, until: until <= now)

    def _finish(self, answer: Answer, which: Callable[[float, float], bool]) -> None:
        with self._lock:
            due = [row for row in self._waiting if which(*row[1:])]
            self._waiting = [row for row in self._waiting if row not in due]
        for future, _, _ in due:
            future.set_result(answer)
        if due and self._node.executor is not None:
            self._node.executor.wake()  # it resumes coroutines only when it wakes


def ready(answer: Answer) -> Future:
    """A future that is already answered."""
    future = Future()
    future.set_result(answer)
    return future
