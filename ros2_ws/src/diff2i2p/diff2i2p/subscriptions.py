"""Subscriptions of the node. Every fault is reported: of messages, of their type and QoS, and lost ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile

from diff2i2p.diagnostics import Diagnostics
from diff2i2p.health import Health
from diff2i2p.qos import OVERRIDABLE, UnsupportedEventTypeError, on_mismatch
from diff2i2p.topic_types import TypeWatch


class Subscriptions:
    """Some subscriptions that begin and end together."""

    def __init__(self, node: LifecycleNode, health: Health, diagnostics: Diagnostics) -> None:
        self._node, self._diagnostics = node, diagnostics
        self._types = TypeWatch(node, health, diagnostics)
        self._made: list[tuple[str, Any]] = []

    def add(
        self,
        kind: type,
        topic: str,
        take: Callable[[Any], None],
        qos: QoSProfile,
        *,
        name: str = "",
        lost: Callable[[Any], None] | None = None,
    ) -> None:
        """`take` may raise. Faults are counted under `name`, by default the topic. `lost` gets an event if
        messages were lost on the way, where the middleware counts them."""
        name, complain = name or topic, self._diagnostics.complain
        create = partial(
            self._node.create_subscription,
            kind,
            topic,
            self._diagnostics.guarded(name, take),
            qos,
            qos_overriding_options=OVERRIDABLE,
        )
        try:
            made = create(event_callbacks=on_mismatch(name, complain, lost))
        except UnsupportedEventTypeError:
            made = create(event_callbacks=on_mismatch(name, complain))
        self._made.append((name, made))

    @property
    def topics(self) -> list[str]:
        """Their full names, after remapping."""
        return [subscription.topic_name for _, subscription in self._made]

    def tick(self) -> None:
        """Called about once a second: name topics that have messages of another type."""
        for name, subscription in self._made:
            self._types.check(name, subscription)

    def close(self) -> None:
        for _, subscription in self._made:
            self._node.destroy_subscription(subscription)
        self._made.clear()
