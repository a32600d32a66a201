"""Converts transforms, poses, covariances and stamps between ROS messages and 4x4 matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import (
    Point,
    Pose,
    PoseWithCovarianceStamped,
    Quaternion,
    Transform,
    TransformStamped,
    Vector3,
)
from numpy.typing import NDArray

from diff2i2p.packages import package
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import compose

tf_transformations: Any = package("tf_transformations")

Matrix = NDArray[np.float64]
MAX_DISTANCE = 1e9
"""Metres. Nothing is farther away, and squares would overflow."""


def nanoseconds(stamp: Time) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def stamp_from(total: int) -> Time:
    """A stamp of `total` nanoseconds."""
    return Time(sec=total // 1_000_000_000, nanosec=total % 1_000_000_000)


def transform_from_matrix(a_from_b: Matrix) -> Transform:
    x, y, z = (float(value) for value in a_from_b[:3, 3])
    quaternion = np.asarray(tf_transformations.quaternion_from_matrix(a_from_b), float)
    qx, qy, qz, qw = (quaternion if quaternion[3] >= 0 else -quaternion).tolist()
    return Transform(translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def matrix_from_transform(transform: Transform) -> Matrix:
    """(4, 4) of a transform message. The caller has checked its quaternion."""
    t, q = transform.translation, transform.rotation
    return _matrix([t.x, t.y, t.z], [q.x, q.y, q.z, q.w])


def stamped_transform(parent: str, child: str, stamp: Time, parent_from_child: Matrix) -> TransformStamped:
    message = TransformStamped(child_frame_id=child, transform=transform_from_matrix(parent_from_child))
    message.header.frame_id = parent
    message.header.stamp = stamp
    return message


def stamped_pose(
    frame: str, stamp: Time, frame_from_body: Matrix, covariance: Matrix
) -> PoseWithCovarianceStamped:
    """The body's pose in `frame`. Covariance (6, 6) in ROS order x y z rotX rotY rotZ."""
    message = PoseWithCovarianceStamped()
    message.header.frame_id = frame
    message.header.stamp = stamp
    transform = transform_from_matrix(frame_from_body)
    t = transform.translation
    position = message.pose.pose.position
    position.x, position.y, position.z = t.x, t.y, t.z
    message.pose.pose.orientation = transform.rotation
    message.pose.covariance = np.ascontiguousarray(covariance, dtype=np.float64).ravel()
    return message


def matrix_from_pose(pose: Pose, what: str) -> Matrix:
    """(4, 4) frame_from_body. InputError naming `what` if the values are not a valid pose."""
    return _checked_matrix(pose.position, pose.orientation, what)


def checked_matrix(message: TransformStamped, what: str) -> Matrix:
    """(4, 4) parent_from_child of a transform. InputError naming `what` if its values are not valid."""
    return _checked_matrix(message.transform.translation, message.transform.rotation, what)


def _checked_matrix(p: Point | Vector3, q: Quaternion, what: str) -> Matrix:
    position, quaternion = [p.x, p.y, p.z], [q.x, q.y, q.z, q.w]
    if not all(map(math.isfinite, (*position, *quaternion))):
        raise InputError(f"{what}: it holds NaN or infinite values; send a finite pose")
    if max(map(abs, position)) > MAX_DISTANCE:
        raise InputError(f"{what}: it is {max(map(abs, position)):.3g} m away; send metres")
    norm = math.hypot(*quaternion)
    if abs(norm - 1) > 0.01:
        raise InputError(f"{what}: the quaternion has norm {norm:.3g}; send a unit quaternion")
    return _matrix(position, quaternion)


def _matrix(position: list[float], quaternion: list[float]) -> Matrix:
    rotation = np.asarray(tf_transformations.quaternion_matrix(quaternion), np.float64)
    return compose(rotation[:3, :3], position)
