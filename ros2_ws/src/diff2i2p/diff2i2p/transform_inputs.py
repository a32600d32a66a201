"""Puts transforms from /tf and /tf_static into the buffer. Invalid ones are refused and counted.

Used instead of tf2_ros's listener, which drops invalid transforms without telling the node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from tf2_msgs.msg import TFMessage

from diff2i2p.headers import LAST_SECOND, check_frame
from diff2i2p.own_transform import OwnTransform
from diff2i2p.poses import checked_matrix, nanoseconds
from diff2i2p.qos import OVERRIDABLE, static_transform_qos, transform_qos
from diff2i2p.transforms import Buffer
from diff2i2p_core.errors import InputError, quoted

LEAP = 60_000_000_000
"""Nanoseconds. A single transform this far ahead of its frame's last would make all later ones too old."""

Complain = Callable[[str, Exception], None]


class TransformInputs:
    """Subscribes. `complain` gets the faults. Only `reset` may be called from another thread."""

    def __init__(
        self,
        node: Node,
        buffer: Buffer,
        complain: Complain,
        own: OwnTransform | None = None,
        moved: Callable[[], None] | None = None,
    ) -> None:
        """`own` is told about every good transform, `moved` is called after each message on /tf."""
        self._node = node
        self._buffer = buffer
        self._complain = complain
        self._own = own
        self._moved = moved or (lambda: None)
        self._odometry_frame = ""
        self._newest: dict[str, int] = {}
        self._ahead: dict[str, int] = {}
        group = ReentrantCallbackGroup()  # also received while a coroutine blocks the node's own group
        self._subscriptions = [
            node.create_subscription(
                TFMessage, topic, take, qos, callback_group=group, qos_overriding_options=OVERRIDABLE
            )
            for topic, take, qos in (
                ("/tf", self._moving, transform_qos()),
                ("/tf_static", self._static, static_transform_qos(depth=100)),
            )
        ]

    def close(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def reset(self) -> None:
        """Time jumped back: forget the stamps so far."""
        self._newest, self._ahead = {}, {}
        if self._own is not None:
            self._own.reset()

    def take_odometry(self, transform: TransformStamped) -> None:
        """Use this for its frame from now on, and nothing for it from /tf. InputError if it is invalid."""
        self._odometry_frame = transform.child_frame_id
        self._add(transform)

    def _moving(self, message: Any) -> None:
        for transform in message.transforms:
            if transform.child_frame_id.removeprefix("/") == self._odometry_frame:
                continue
            try:
                self._add(transform)
            except Exception as error:  # whatever is wrong with this message, the next one may be good
                self._complain("transform", error)
        self._moved()

    def _add(self, transform: TransformStamped) -> None:
        check_transform(transform)
        self._check_leap(transform)
        self._buffer.set_transform(transform, "")
        if self._own is not None:
            self._own.received(transform, static=False)

    def _static(self, message: Any) -> None:
        for transform in message.transforms:
            try:
                check_transform(transform)
                self._buffer.set_transform_static(transform, "")
                if self._own is not None:
                    self._own.received(transform, static=True)
            except Exception as error:
                self._complain("transform", error)

    def _check_leap(self, transform: TransformStamped) -> None:
        child, stamp = transform.child_frame_id, nanoseconds(transform.header.stamp)
        newest = self._newest.get(child, stamp)
        if stamp > newest + LEAP and not 0 <= stamp - self._ahead.get(child, 2 * stamp) <= LEAP:
            self._ahead[child] = stamp
            seconds = (stamp - newest) / 1e9
            raise InputError(
                f"/tf: {quoted(child)} is {seconds:.0f} s ahead of its last transform; used if more follow"
            )
        self._newest[child] = max(stamp, newest)


def check_transform(transform: TransformStamped) -> None:
    """Refuse a transform without two names, a valid time, finite numbers and a unit quaternion."""
    parent, child = transform.header.frame_id, transform.child_frame_id
    for frame in (parent, child):
        check_frame(frame, "/tf")
    if not parent.strip("/") or parent.removeprefix("/") == child.removeprefix("/") or not child.strip("/"):
        raise InputError(
            f"/tf: a transform of {quoted(child)} in {quoted(parent)}; it needs two different frame names"
        )
    stamp = transform.header.stamp
    if not 0 <= stamp.sec <= LAST_SECOND or stamp.nanosec >= 1_000_000_000:
        raise InputError(f"/tf: {quoted(child)} has the time stamp {stamp.sec} s {stamp.nanosec} ns")
    checked_matrix(transform, f"/tf: {quoted(child)}")
