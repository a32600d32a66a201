"""The pose of a body beside its camera: the covariance that the node publishes, with known values."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from diff2i2p.frames import Frames
from diff2i2p.parameters import Parameters
from diff2i2p.poses import stamp_from, stamped_transform
from diff2i2p.transforms import Buffer
from diff2i2p_core.geometry.se3 import compose, exp

STAMP = stamp_from(10**9)


def test_an_error_of_the_cameras_heading_moves_the_base_sideways() -> None:
    """The base is 2 m along the map's x from the camera: a turn by r about z moves it by +2 r along y."""
    map_from_camera = exp([0, 0, np.pi / 2, 4.0, 5.0, 1.0])
    camera_from_base = compose(np.eye(3), [0, -2.0, 0])
    buffer = Buffer()
    buffer.set_transform_static(stamped_transform("camera", "base", STAMP, camera_from_base), "test")
    frames = Frames(Parameters(base_frame="base"), buffer)
    sigma = 0.1
    covariance = np.diag([0, 0, 0, 0, 0, sigma**2])

    message = frames.pose(map_from_camera, covariance, "camera", STAMP)

    position = message.pose.pose.position
    np.testing.assert_allclose([position.x, position.y, position.z], [6, 5, 1], atol=1e-12)
    expected = np.zeros((6, 6))
    expected[1, 1], expected[5, 5] = 4 * sigma**2, sigma**2
    expected[1, 5] = expected[5, 1] = 2 * sigma**2
    np.testing.assert_allclose(np.reshape(message.pose.covariance, (6, 6)), expected, atol=1e-12)
