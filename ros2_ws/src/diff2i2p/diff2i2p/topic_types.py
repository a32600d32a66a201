"""Names topics on which only messages of another type are published: DDS never connects them, silently."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

from diff2i2p.diagnostics import Diagnostics
from diff2i2p.health import Health
from diff2i2p_core.errors import InputError
from diff2i2p_core.messages.kinds import COMPRESSED, IMAGE


class TypeWatch:
    """Checks the topics of subscriptions that have not received anything yet."""

    def __init__(self, node: Node, health: Health, diagnostics: Diagnostics) -> None:
        self._node = node
        self._health = health
        self._diagnostics = diagnostics
        self._said: dict[str, str] = {}

    def check(self, name: str, subscription: Any) -> None:
        """`name` is what faults of the topic are counted under. A mistake is reported once."""
        topic = subscription.topic_name
        words = "" if name in self._health.seen else type_mistake(self._node, topic, _type_of(subscription))
        if words == self._said.get(topic, ""):
            return
        self._said[topic] = words
        if words:
            self._diagnostics.complain(name, InputError(f"{name}: {words}"))
        else:
            self._health.recovered(name)


def type_mistake(node: Node, topic: str, wanted: str) -> str:
    """What is wrong if publishers of `topic` offer other types than `wanted` only; else empty."""
    offered = {info.topic_type for info in node.get_publishers_info_by_topic(topic)}
    if not offered and wanted == IMAGE:
        transports = [name for name in ("ffmpeg", "compressed") if node.count_publishers(f"{topic}/{name}")]
        if transports == ["ffmpeg"]:
            return f"{topic} is published as video only, on {topic}/ffmpeg; set image_transport to ffmpeg"
    if not offered or wanted in offered:
        return ""
    words = f"{topic} is published as {' and '.join(sorted(offered))}, but {wanted} is needed"
    if wanted == IMAGE and COMPRESSED in offered and topic.endswith("/compressed"):
        raw = topic.removesuffix("/compressed")
        return f"{words}; remap to {raw}, then {topic} is read as well"
    return f"{words}; remap to another topic"


def _type_of(subscription: Any) -> str:
    kind = subscription.msg_type
    return f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"
