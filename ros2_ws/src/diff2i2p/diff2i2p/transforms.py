"""The names of tf2_ros that the node uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diff2i2p.standins.tf2_ros import (
        Buffer,
        StaticTransformBroadcaster,
        TransformBroadcaster,
        TransformException,
    )
else:
    from diff2i2p.packages import package

    tf2_ros = package("tf2_ros")
    Buffer, TransformException = tf2_ros.Buffer, tf2_ros.TransformException
    TransformBroadcaster = tf2_ros.TransformBroadcaster
    StaticTransformBroadcaster = tf2_ros.StaticTransformBroadcaster

__all__ = [
    "Buffer",
    "StaticTransformBroadcaster",
    "TransformBroadcaster",
    "TransformException",
]
