"""The bond with which a lifecycle manager notices that a node has died: a heartbeat on the topic `bond`.

The protocol of bondcpp, as far as the watched side needs it: it needs no bondpy, only the message type.
"""

from __future__ import annotations

import uuid
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.timer import Timer

from diff2i2p.qos import output_qos

try:
    from bond.msg import Status
except ImportError:  # without the type there is no manager that could want it
    Status = None

PERIOD, TIMEOUT = 0.1, 4.0
"""Seconds between heartbeats, and after which the manager gives the node up: Nav2's values."""


class Bond:
    """Beats from activation to deactivation, under the node's name as Nav2's manager expects."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._publisher = None if Status is None else node.create_publisher(Status, "bond", output_qos())
        self._timer: Timer | None = None
        self._instance = ""

    def start(self) -> None:
        """A manager takes each activation for a new instance."""
        if self._publisher is not None:
            self._instance = uuid.uuid4().hex
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._timer = self._node.create_timer(PERIOD, self._beat, clock=steady)

    def stop(self) -> None:
        """Say that the node ends on purpose."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
            if self._node.context.ok():
                self._beat(active=False)

    def _beat(self, *, active: bool = True) -> None:
        assert self._publisher is not None
        message: Any = Status(id=self._node.get_name(), instance_id=self._instance, active=active)
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.heartbeat_timeout, message.heartbeat_period = TIMEOUT, PERIOD
        self._publisher.publish(message)
