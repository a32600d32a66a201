"""Notices other publishers of the transform that the node publishes, and other parents of its child frame.

TF accepts both silently, and every look-up then jumps between the two.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from geometry_msgs.msg import TransformStamped

REMEMBERED = 256
"""How many of its own transforms the node recognizes when they come back from /tf."""

FORGET = 5.0
"""Seconds after which a moving transform of another publisher is no longer a conflict."""


@dataclass(frozen=True)
class _Other:
    parent: str
    until: float


class OwnTransform:
    """`sent` is called on the worker's or the executor's thread, all else on the executor's."""

    def __init__(self, map_frame: str) -> None:
        self._map_frame = map_frame
        self._child = ""
        self._sent: deque[Any] = deque(maxlen=REMEMBERED)
        self._others: dict[str, _Other] = {}

    def sent(self, transform: TransformStamped) -> None:
        """Call it before a transform is published."""
        self._child = transform.child_frame_id
        self._sent.append(_content(transform))

    def received(self, transform: TransformStamped, *, static: bool) -> None:
        child = transform.child_frame_id.removeprefix("/")
        if child == self._child and _content(transform) in self._sent:
            return
        until = float("inf") if static else time.monotonic() + FORGET
        self._others[child] = _Other(transform.header.frame_id.removeprefix("/"), until)

    def reset(self) -> None:
        """Time jumped back: forget what moves."""
        self._others = {child: other for child, other in self._others.items() if other.until == float("inf")}

    @property
    def conflict(self) -> str:
        """What contradicts the node's transform, in words; empty if nothing does."""
        other = self._others.get(self._child)
        if other is None or other.until < time.monotonic():
            return ""
        if other.parent == self._map_frame:
            return (
                f"another publisher sends {self._map_frame} -> {self._child}, too: stop it, or set "
                "publish_tf false"
            )
        return (
            f"'{self._child}' has another parent, '{other.parent}': a frame has one parent; set odom_frame "
            "or base_frame, or stop the other publisher (docs/frame_contract.md)"
        )


def _content(transform: TransformStamped) -> tuple[float | str, ...]:
    stamp, t, q = transform.header.stamp, transform.transform.translation, transform.transform.rotation
    return (transform.header.frame_id, stamp.sec, stamp.nanosec, t.x, t.y, t.z, q.x, q.y, q.z, q.w)
