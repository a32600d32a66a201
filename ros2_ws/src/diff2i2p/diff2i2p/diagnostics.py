"""The /diagnostics topic and the log. Every fault is counted; repeated ones do not flood the log."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.lifecycle import LifecycleNode

from diff2i2p.health import Health
from diff2i2p_core.errors import InputError

LONGEST = 300
"""Maximum number of characters of an unexpected error's message."""


class Diagnostics:
    """Publishes what `health` says, on request and when the level or message changes."""

    def __init__(self, node: LifecycleNode, health: Health) -> None:
        self._node = node
        self._health = health
        self._last: tuple[bytes, str] | None = None
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._name = node.get_fully_qualified_name().lstrip("/")

    def publish(self) -> None:
        self._send([self._localization()])

    def publish_all(self) -> None:
        """Called once a second: the status of the topics, too."""
        self._send([self._localization(), *self._health.topics(self._name)])

    def _localization(self) -> DiagnosticStatus:
        status = self._health.status(f"{self._name}: localization")
        self._last = (status.level, status.message)
        return status

    def _send(self, statuses: list[DiagnosticStatus]) -> None:
        message = DiagnosticArray(status=statuses)
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def publish_change(self) -> None:
        if self._health.judge() != self._last:
            self.publish()

    def complain(self, topic: str, error: Exception) -> None:
        """Count a fault of a message on `topic`. Log it unless a similar one was just logged."""
        words = in_words(topic, error)
        if self._health.fault(topic, words):
            trace = "" if isinstance(error, InputError) else "".join(traceback.format_exception(error))
            self._node.get_logger().error(trace or words)
        self.publish_change()

    def guarded(self, topic: str, take: Callable[[Any], None]) -> Callable[[Any], None]:
        """A callback for a subscription: an exception in `take` is reported and does not end the node."""

        def call(message: Any) -> None:
            try:
                take(message)
            except Exception as error:
                self.complain(topic, error)

        return call


def in_words(where: str, error: Exception) -> str:
    """An InputError speaks for itself. Anything else is a bug: add where it happened and its type."""
    if isinstance(error, InputError):
        return str(error)
    words = " ".join(str(error).split())
    return f"{where}: {type(error).__name__}: {words[:LONGEST]}"
