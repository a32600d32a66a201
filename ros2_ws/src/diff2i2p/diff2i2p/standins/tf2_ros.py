"""The part of tf2_ros that the node uses, for installations without it (PyPI has no tf2_ros).

Names, arguments and behaviour follow tf2_ros: a tree of transforms received on /tf and /tf_static, ten
seconds of history, linear and spherical interpolation between stamps, no extrapolation. Time 0 means the
newest time common to the whole chain.
"""

from __future__ import annotations

import bisect
import math
import threading
import time as wall
from collections.abc import Iterable

import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from scipy.spatial.transform import Rotation, Slerp
from tf2_msgs.msg import TFMessage

from diff2i2p.poses import matrix_from_transform, nanoseconds, stamp_from, stamped_transform
from diff2i2p.qos import static_transform_qos, transform_qos
from diff2i2p_core.geometry.se3 import compose, invert

Matrix = NDArray[np.float64]


class TransformException(Exception):
    """A transform is not available. Base class, as in tf2_ros."""


class LookupException(TransformException):
    """A frame is unknown."""


class ConnectivityException(TransformException):
    """Two frames are in different trees."""


class ExtrapolationException(TransformException):
    """The time is outside the history."""


class History:
    """The transforms of one child frame in its parent over time. Static ones hold at any time."""

    def __init__(self, parent: str, is_static: bool) -> None:
        self.parent = parent
        self.is_static = is_static
        self.stamps: list[int] = []
        self.matrices: list[Matrix] = []

    def insert(self, stamp: int, parent_from_child: Matrix, cache_ns: int) -> None:
        if self.is_static:
            self.stamps, self.matrices = [stamp], [parent_from_child]
            return
        if self.stamps and stamp <= self.stamps[-1] - cache_ns:
            return
        index = bisect.bisect_left(self.stamps, stamp)
        if index < len(self.stamps) and self.stamps[index] == stamp:
            self.matrices[index] = parent_from_child
        else:
            self.stamps.insert(index, stamp)
            self.matrices.insert(index, parent_from_child)
        expired = bisect.bisect_left(self.stamps, self.stamps[-1] - cache_ns)
        del self.stamps[:expired], self.matrices[:expired]

    def at(self, stamp: int, child: str) -> Matrix:
        """parent_from_child at a time in nanoseconds."""
        if self.is_static:
            return self.matrices[0]
        index = bisect.bisect_left(self.stamps, stamp)
        if index < len(self.stamps) and self.stamps[index] == stamp:
            return self.matrices[index]
        if index in (0, len(self.stamps)):
            where = "past" if index == 0 else "future"
            raise ExtrapolationException(
                f"'{self.parent}' from '{child}' at {stamp / 1e9:.3f} s is in the {where}; "
                f"known from {self.stamps[0] / 1e9:.3f} to {self.stamps[-1] / 1e9:.3f} s"
            )
        before, after = self.matrices[index - 1], self.matrices[index]
        fraction = (stamp - self.stamps[index - 1]) / (self.stamps[index] - self.stamps[index - 1])
        rotations = Rotation.from_matrix(np.stack([before[:3, :3], after[:3, :3]]))
        translation = (1 - fraction) * before[:3, 3] + fraction * after[:3, 3]
        return compose(Slerp([0.0, 1.0], rotations)(fraction).as_matrix(), translation)


class Buffer:
    """Transforms by frame and time. Thread-safe."""

    def __init__(self, cache_time: Duration | None = None, node: Node | None = None) -> None:
        self._cache_ns = 10_000_000_000 if cache_time is None else cache_time.nanoseconds
        self._frames: dict[str, History] = {}
        self._changed = threading.Condition()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        self._set(transform, is_static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        self._set(transform, is_static=True)

    def clear(self) -> None:
        """Forget the moving transforms; static ones stay valid."""
        with self._changed:
            self._frames = {name: history for name, history in self._frames.items() if history.is_static}

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Time, timeout: Duration | None = None
    ) -> TransformStamped:
        """target_from_source at `time`. Waits for it up to `timeout` of wall time."""
        until = wall.monotonic() + (0.0 if timeout is None else timeout.nanoseconds / 1e9)
        target, source = target_frame.removeprefix("/"), source_frame.removeprefix("/")
        with self._changed:
            while True:
                try:
                    stamp, matrix = self._lookup(target, source, time.nanoseconds)
                    return stamped_transform(target, source, stamp_from(stamp), matrix)
                except TransformException:
                    remaining = until - wall.monotonic()
                    if remaining <= 0:
                        raise
                    self._changed.wait(remaining)

    def _set(self, message: TransformStamped, is_static: bool) -> None:
        parent, child = message.header.frame_id.removeprefix("/"), message.child_frame_id.removeprefix("/")
        t, q = message.transform.translation, message.transform.rotation
        numbers = [t.x, t.y, t.z, q.x, q.y, q.z, q.w]
        # As in tf2: refuse missing names, a frame in itself, NaN, and a zero quaternion.
        if not parent or not child or parent == child or not np.isfinite(numbers).all():
            return
        if math.hypot(*numbers[3:]) < 1e-9:
            return
        with self._changed:
            history = self._frames.get(child)
            if history is None or (history.parent, history.is_static) != (parent, is_static):
                history = self._frames[child] = History(parent, is_static)
            stamp = nanoseconds(message.header.stamp)
            history.insert(stamp, matrix_from_transform(message.transform), self._cache_ns)
            self._changed.notify_all()

    def _lookup(self, target: str, source: str, stamp: int) -> tuple[int, Matrix]:
        parents = {history.parent for history in self._frames.values()}
        for frame in (target, source):
            if frame not in self._frames and frame not in parents:
                raise LookupException(f"frame '{frame}' does not exist in TF")
        up_target, up_source = self._ancestors(target), self._ancestors(source)
        common = next((frame for frame in up_source if frame in up_target), None)
        if common is None:
            raise ConnectivityException(f"'{target}' and '{source}' are in unconnected TF trees")
        down = up_target[: up_target.index(common)]
        up = up_source[: up_source.index(common)]
        if stamp == 0:
            newest = [
                self._frames[frame].stamps[-1] for frame in down + up if not self._frames[frame].is_static
            ]
            stamp = min(newest, default=0)
        return stamp, invert(self._chain(down, stamp)) @ self._chain(up, stamp)

    def _ancestors(self, frame: str) -> list[str]:
        chain = [frame]
        while (history := self._frames.get(chain[-1])) is not None and history.parent not in chain:
            chain.append(history.parent)
        return chain

    def _chain(self, frames: Iterable[str], stamp: int) -> Matrix:
        """common_from_first, for frames listed upwards from the first."""
        matrix = np.eye(4)
        for frame in frames:
            matrix = self._frames[frame].at(stamp, frame) @ matrix
        return matrix


class TransformBroadcaster:
    """Publishes transforms on /tf."""

    def __init__(self, node: Node) -> None:
        self._publisher = node.create_publisher(TFMessage, "/tf", transform_qos())

    def sendTransform(self, transform: TransformStamped | Iterable[TransformStamped]) -> None:
        transforms = [transform] if isinstance(transform, TransformStamped) else list(transform)
        self._publisher.publish(TFMessage(transforms=transforms))


class StaticTransformBroadcaster:
    """Publishes transforms that never change on /tf_static. Each message holds all of them."""

    def __init__(self, node: Node) -> None:
        self._transforms: dict[str, TransformStamped] = {}
        self._publisher = node.create_publisher(TFMessage, "/tf_static", static_transform_qos(depth=1))

    def sendTransform(self, transform: TransformStamped | Iterable[TransformStamped]) -> None:
        transforms = [transform] if isinstance(transform, TransformStamped) else list(transform)
        self._transforms |= {one.child_frame_id: one for one in transforms}
        self._publisher.publish(TFMessage(transforms=list(self._transforms.values())))
