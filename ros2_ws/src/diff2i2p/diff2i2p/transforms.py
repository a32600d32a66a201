"""TF from tf2_ros if it is installed, else from the stand-in with the same names."""

from __future__ import annotations

try:
    from tf2_ros import (
        Buffer,
        StaticTransformBroadcaster,
        TransformBroadcaster,
        TransformException,
    )
except ImportError:
    from diff2i2p.tf_standin import (
        Buffer,
        StaticTransformBroadcaster,
        TransformBroadcaster,
        TransformException,
    )

__all__ = [
    "Buffer",
    "StaticTransformBroadcaster",
    "TransformBroadcaster",
    "TransformException",
]
