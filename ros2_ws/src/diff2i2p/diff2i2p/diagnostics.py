"""The /diagnostics topic and the log: every fault counted, none repeated without end."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import LifecycleNode

from diff2i2p.health import Health
from diff2i2p_core.errors import InputError

LONGEST = 300
"""Characters of an unforeseen error's words."""


class Diagnostics:
    """Publishes what `health` says: when told, and on a change of level or words."""

    def __init__(self, node: LifecycleNode, health: Health) -> None:
        self._node = node
        self._health = health
        self._last: tuple[bytes, str] | None = None
        self.dropped: Callable[[], int] = lambda: 0
        """How many images were replaced by newer ones before work on them began."""
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        name = node.get_fully_qualified_name().lstrip("/")
        self._name = f"{name}: localization"

    def publish(self) -> None:
        status = self._health.status(self._name, {"images_dropped": self.dropped()})
        self._last = (status.level, status.message)
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def publish_change(self) -> None:
        if self._health.judge() != self._last:
            self.publish()

    def complain(self, topic: str, error: Exception) -> None:
        """Count a fault that came with a message on `topic`; log it unless one like it was just logged."""
        words = in_words(topic, error)
        if self._health.fault(topic, words):
            unforeseen = "" if isinstance(error, InputError) else "".join(traceback.format_exception(error))
            self._node.get_logger().error(unforeseen or words)
        self.publish_change()

    def guarded(self, topic: str, take: Callable[[Any], None]) -> Callable[[Any], None]:
        """A subscription's callback: whatever a message makes it raise is a complaint, not the node's end."""

        def call(message: Any) -> None:
            try:
                take(message)
            except Exception as error:
                self.complain(topic, error)

        return call


def in_words(where: str, error: Exception) -> str:
    """An InputError speaks for itself; anything else is a fault of the program."""
    if isinstance(error, InputError):
        return str(error)
    words = " ".join(str(error).split())
    return f"{where}: {type(error).__name__}: {words[:LONGEST]}"
