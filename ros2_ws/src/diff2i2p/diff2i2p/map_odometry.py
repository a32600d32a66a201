"""Publishes the body's pose in the map for each new odometry: the last correction times the odometry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from nav_msgs.msg import Odometry
from rclpy.lifecycle import LifecycleNode

from diff2i2p.frames import Frames
from diff2i2p.poses import (
    Matrix,
    matrix_from_pose,
    matrix_from_transform,
    nanoseconds,
    stamp_from,
    stamped_pose,
)
from diff2i2p.qos import OVERRIDABLE, output_qos
from diff2i2p.transforms import TransformException
from diff2i2p_core.geometry.covariance import covariance_at
from diff2i2p_core.geometry.se3 import rotation_error_deg, translation_error

SIGMAS = 3.0
"""`odometry_drift` is the most that odometry drifts: this many standard deviations."""


@dataclass(frozen=True)
class _Correction:
    """What the last localized image tells about odometry."""

    map_from_odom: Matrix
    body: str
    stamp: int
    """Nanoseconds, of the image."""
    map_from_body: Matrix
    covariance: Matrix
    """(6, 6) of the pose, in ROS order."""


class MapOdometry:
    """`correct` and `forget` are called on any thread, `moved` on the executor's."""

    def __init__(self, node: LifecycleNode, frames: Frames) -> None:
        self._node = node
        self._frames = frames
        self._correction: _Correction | None = None
        self._last = 0
        self._publisher = node.create_publisher(
            Odometry, "odometry", output_qos(), qos_overriding_options=OVERRIDABLE
        )

    def close(self) -> None:
        self._node.destroy_publisher(self._publisher)

    def correct(self, pose: PoseWithCovarianceStamped, transform: TransformStamped, body: str) -> None:
        """The pose of the frame `body` at an image, and the transform map -> odom that it gives."""
        self._correction = _Correction(
            matrix_from_transform(transform.transform),
            body,
            nanoseconds(pose.header.stamp),
            matrix_from_pose(pose.pose.pose, "pose"),
            np.reshape(pose.pose.covariance, (6, 6)),
        )

    def forget(self) -> None:
        """Publish nothing before the next localized image."""
        self._correction, self._last = None, 0

    def moved(self, message: Odometry | None = None) -> None:
        """There may be new odometry in TF, or there is with this `message`, which also has a velocity."""
        correction = self._correction
        if correction is None or not self._publisher.get_subscription_count():
            return
        try:
            stamp, odom_from_body = self._frames.newest_odometry(correction.body)
        except TransformException:
            return
        hold = self._frames.parameters.transform_hold * 1e9
        if stamp <= self._last or abs(stamp - correction.stamp) > hold:
            return
        self._last = stamp
        found = self._odometry(correction, stamp, odom_from_body)
        if message is not None and message.child_frame_id.removeprefix("/") == correction.body:
            found.twist = message.twist
        self._publisher.publish(found)

    def _odometry(self, correction: _Correction, stamp: int, odom_from_body: Matrix) -> Odometry:
        """The covariance grows with the way since the image, by `odometry_drift`."""
        map_from_body = correction.map_from_odom @ odom_from_body
        before = correction.map_from_body
        covariance = covariance_at(correction.covariance, map_from_body[:3, 3] - before[:3, 3])
        drift = self._frames.parameters.odometry_drift / SIGMAS
        metres = drift * translation_error(before, map_from_body)
        radians = drift * np.radians(rotation_error_deg(before, map_from_body))
        covariance = covariance + np.diag([metres**2] * 3 + [radians**2] * 3)
        pose = stamped_pose(self._frames.parameters.map_frame, stamp_from(stamp), map_from_body, covariance)
        return Odometry(header=pose.header, child_frame_id=correction.body, pose=pose.pose)
