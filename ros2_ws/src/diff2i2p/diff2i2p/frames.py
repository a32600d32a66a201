"""Which transform and pose follow from a localized image, and which prior for the next.

docs/frame_contract.md says the same for users.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from builtin_interfaces.msg import Time as Stamp
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.time import Time

from diff2i2p.parameters import Parameters
from diff2i2p.poses import (
    covariance_at,
    matrix_from_transform,
    nanoseconds,
    stamp_from,
    stamped_pose,
    stamped_transform,
)
from diff2i2p_core.geometry.se3 import invert

if TYPE_CHECKING:
    from diff2i2p.transforms import Buffer

Matrix = NDArray[np.float64]


class Frames:
    """The frame contract for one set of parameters; `TransformException` where TF lacks something."""

    def __init__(self, parameters: Parameters, buffer: Buffer) -> None:
        self.parameters = parameters
        """May be replaced by others with the same frames."""
        self._buffer = buffer

    def lookup(self, target: str, source: str, stamp: Stamp) -> Matrix:
        """(4, 4) target_from_source at the stamp."""
        if target == source:
            return np.eye(4)
        timeout = Duration(nanoseconds=round(self.parameters.transform_timeout * 1e9))
        found = self._buffer.lookup_transform(target, source, Time.from_msg(stamp), timeout)
        return matrix_from_transform(found.transform)

    def camera_from_body(self, camera_frame: str, stamp: Stamp) -> Matrix:
        """The body is `base_frame`, or the camera itself where none is given."""
        return self.lookup(camera_frame, self.parameters.base_frame or camera_frame, stamp)

    def pose(
        self, map_from_camera: Matrix, covariance: Matrix, camera_frame: str, stamp: Stamp
    ) -> PoseWithCovarianceStamped:
        """The body's pose in the map at the image's stamp; the covariance moved from camera to body."""
        map_from_body = map_from_camera @ self.camera_from_body(camera_frame, stamp)
        lever = map_from_body[:3, 3] - map_from_camera[:3, 3]
        moved = covariance_at(covariance, lever)
        return stamped_pose(self.parameters.map_frame, stamp, map_from_body, moved)

    def transform(self, map_from_camera: Matrix, camera_frame: str, stamp: Stamp) -> TransformStamped:
        """map -> odom = map_from_camera * camera_from_odom(stamp), or map -> body without an odom frame."""
        parameters = self.parameters
        child = parameters.odom_frame or parameters.base_frame or camera_frame
        map_from_child = map_from_camera @ self.lookup(camera_frame, child, stamp)
        dated = stamp_from(nanoseconds(stamp) + round(parameters.transform_tolerance * 1e9))
        return stamped_transform(parameters.map_frame, child, dated, map_from_child)


@dataclass(frozen=True)
class Anchor:
    """A known pose: `map_from_frame` of the odom frame, or of the camera where there is no odometry."""

    map_from_frame: Matrix
    stamp: int


class PriorKeeper:
    """The pose to search near: /initialpose once, then the last pose, moved on by odometry if there is any.

    After a miss with the prior, the next image is searched in the whole map, so a kidnapped robot is found.
    `reset` and `set_initial` may come from another thread while an image is worked on: what follows from that
    image is then not remembered.
    """

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._lock = threading.Lock()
        self._generation = self._begun = 0
        self._anchor: Anchor | None = None
        self._map_from_body: Matrix | None = None
        self._skip_once = False

    def begin(self) -> None:
        """Work on an image begins."""
        self._begun = self._generation

    def reset(self) -> None:
        """Forget every pose: the next image is searched in the whole map."""
        self._restart(None)

    def set_initial(self, map_from_body: Matrix) -> None:
        """A pose given from outside, true at the next image."""
        self._restart(map_from_body)

    @property
    def initial(self) -> Matrix | None:
        """map_from_body given from outside and not used yet."""
        return self._map_from_body

    def predict(self, camera_frame: str, stamp: Stamp) -> Matrix | None:
        """map_from_camera at an image's stamp, or None."""
        now = nanoseconds(stamp)
        given = self._map_from_body
        if given is not None:
            body_from_camera = invert(self._frames.camera_from_body(camera_frame, stamp))
            self._remember(given @ body_from_camera, camera_frame, stamp)
            with self._lock:
                if self._begun == self._generation:
                    self._map_from_body = None
        anchor = self._anchor
        lifetime = round(self._frames.parameters.prior_timeout * 1e9)
        if anchor is None or not 0 <= now - anchor.stamp <= lifetime:
            return None
        if self._skip_once:
            self._skip_once = False
            return None
        odom_frame = self._frames.parameters.odom_frame
        if not odom_frame:
            return anchor.map_from_frame
        return anchor.map_from_frame @ self._frames.lookup(odom_frame, camera_frame, stamp)

    def localized(self, map_from_camera: Matrix, camera_frame: str, stamp: Stamp) -> None:
        self._remember(map_from_camera, camera_frame, stamp)

    def missed(self, *, had_prior: bool) -> None:
        with self._lock:
            if self._begun == self._generation:
                self._skip_once = had_prior

    def _remember(self, map_from_camera: Matrix, camera_frame: str, stamp: Stamp) -> None:
        frame = self._frames.parameters.odom_frame or camera_frame
        anchor = Anchor(map_from_camera @ self._frames.lookup(camera_frame, frame, stamp), nanoseconds(stamp))
        with self._lock:
            if self._begun == self._generation:
                self._anchor, self._skip_once = anchor, False

    def _restart(self, map_from_body: Matrix | None) -> None:
        with self._lock:
            self._generation += 1
            self._anchor = None
            self._map_from_body = map_from_body
            self._skip_once = False
