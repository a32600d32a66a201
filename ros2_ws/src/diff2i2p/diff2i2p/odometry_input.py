"""Odometry from a topic, for robots that do not publish it on /tf: put into the buffer of transforms."""

from __future__ import annotations

from collections.abc import Callable

from geometry_msgs.msg import TransformStamped, Vector3
from nav_msgs.msg import Odometry
from rclpy.lifecycle import LifecycleNode

from diff2i2p.diagnostics import Diagnostics
from diff2i2p.headers import check_header
from diff2i2p.health import Health
from diff2i2p.parameters import Parameters
from diff2i2p.qos import odometry_qos
from diff2i2p.subscriptions import Subscriptions
from diff2i2p_core.errors import InputError, quoted


class OdometryInput:
    """Subscribes to `odom`. `take` gets each message as a transform, `moved` is called with it afterwards."""

    def __init__(
        self,
        node: LifecycleNode,
        parameters: Parameters,
        health: Health,
        diagnostics: Diagnostics,
        take: Callable[[TransformStamped], None],
        moved: Callable[[Odometry], None],
    ) -> None:
        self._odom_frame = parameters.odom_frame
        self._health = health
        self._take = take
        self._moved = moved
        self._subscriptions = Subscriptions(node, health, diagnostics)
        self._subscriptions.add(Odometry, "odom", self._on_odometry, odometry_qos())

    def close(self) -> None:
        self._subscriptions.close()

    def tick(self) -> None:
        self._subscriptions.tick()

    def _on_odometry(self, message: Odometry) -> None:
        check_header(message.header, "odom")
        parent, child = message.header.frame_id.removeprefix("/"), message.child_frame_id.removeprefix("/")
        if parent != self._odom_frame or not child:
            raise InputError(
                f"odom: it is the pose of {quoted(child)} in {quoted(parent)}, the parameter odom_frame is "
                f"'{self._odom_frame}'; name both frames in the message"
            )
        transform = TransformStamped(header=message.header, child_frame_id=child)
        transform.header.frame_id = parent
        p = message.pose.pose.position
        transform.transform.translation = Vector3(x=p.x, y=p.y, z=p.z)
        transform.transform.rotation = message.pose.pose.orientation
        self._take(transform)
        self._health.saw("odom")
        self._health.recovered("odom")
        self._moved(message)
