"""Computes transform and pose from a localized image, and looks up odometry.

docs/frame_contract.md describes the rules for users.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from builtin_interfaces.msg import Time as Stamp
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.time import Time

from diff2i2p.parameters import Parameters
from diff2i2p.poses import (
    matrix_from_transform,
    nanoseconds,
    stamp_from,
    stamped_pose,
    stamped_transform,
)
from diff2i2p_core.geometry.covariance import covariance_at

if TYPE_CHECKING:
    from diff2i2p.transforms import Buffer

Matrix = NDArray[np.float64]


class Frames:
    """The frame contract for one set of parameters. `TransformException` if TF lacks something."""

    def __init__(self, parameters: Parameters, buffer: Buffer) -> None:
        self.parameters = parameters
        """Can be replaced by parameters with the same frames."""
        self._buffer = buffer

    def lookup(self, target: str, source: str, stamp: Stamp) -> Matrix:
        """(4, 4) target_from_source at the stamp."""
        if target == source:
            return np.eye(4)
        timeout = Duration(nanoseconds=round(self.parameters.transform_timeout * 1e9))
        message = self._buffer.lookup_transform(target, source, Time.from_msg(stamp), timeout)
        return matrix_from_transform(message.transform)

    def camera_from_body(self, camera_frame: str, stamp: Stamp) -> Matrix:
        """The body is `base_frame`, or the camera itself if that is not set."""
        return self.lookup(camera_frame, self.parameters.base_frame or camera_frame, stamp)

    def odom_from_body(self, camera_frame: str, stamp: Stamp) -> Matrix | None:
        """Odometry at the stamp. None without an odom frame."""
        odom_frame = self.parameters.odom_frame
        body = self.parameters.base_frame or camera_frame
        return self.lookup(odom_frame, body, stamp) if odom_frame else None

    def newest_odometry(self, body: str) -> tuple[int, Matrix]:
        """Stamp (nanoseconds) and odom_from_body of the newest odometry."""
        message = self._buffer.lookup_transform(self.parameters.odom_frame, body, Time())
        return nanoseconds(message.header.stamp), matrix_from_transform(message.transform)

    def pose(
        self, map_from_camera: Matrix, covariance: Matrix, camera_frame: str, stamp: Stamp
    ) -> PoseWithCovarianceStamped:
        """The body's pose in the map at the image's stamp, with the covariance moved from camera to body."""
        map_from_body = map_from_camera @ self.camera_from_body(camera_frame, stamp)
        lever = map_from_body[:3, 3] - map_from_camera[:3, 3]
        moved = covariance_at(covariance, lever)
        return stamped_pose(self.parameters.map_frame, stamp, map_from_body, moved)

    def transform(self, map_from_camera: Matrix, camera_frame: str, stamp: Stamp) -> TransformStamped:
        """map -> odom = map_from_camera * camera_from_odom(stamp), or map -> body without an odom frame."""
        parameters = self.parameters
        child = parameters.odom_frame or parameters.base_frame or camera_frame
        map_from_child = map_from_camera @ self.lookup(camera_frame, child, stamp)
        dated = stamp_from(nanoseconds(stamp) + round(parameters.tolerance * 1e9))
        return stamped_transform(parameters.map_frame, child, dated, map_from_child)
