"""Matrices to messages and back; moving a covariance from one point of a body to another."""

from __future__ import annotations

import numpy as np
import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.covariance import covariance_at
from diff2i2p_core.geometry.se3 import compose, exp

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from geometry_msgs.msg import Pose
from scipy.spatial.transform import Rotation

from diff2i2p.poses import (
    matrix_from_pose,
    matrix_from_transform,
    nanoseconds,
    stamp_from,
    stamped_pose,
    transform_from_matrix,
)


def test_round_trips() -> None:
    matrix = exp([0.3, -0.8, 1.9, 4, -5, 6])
    np.testing.assert_allclose(matrix_from_transform(transform_from_matrix(matrix)), matrix, atol=1e-12)
    message = stamped_pose("map", stamp_from(7), matrix, np.arange(36.0).reshape(6, 6))
    np.testing.assert_allclose(matrix_from_pose(message.pose.pose, "pose"), matrix, atol=1e-12)
    assert message.pose.covariance[8] == 8.0
    assert nanoseconds(stamp_from(12_345_678_901)) == 12_345_678_901


@pytest.mark.parametrize("field", ["nan", "norm"])
def test_invalid_poses(field: str) -> None:
    pose = Pose()
    if field == "nan":
        pose.position.y = float("inf")
    else:
        pose.orientation.w = 0.2
    with pytest.raises(InputError, match=r"initialpose: (it holds NaN|the quaternion)"):
        matrix_from_pose(pose, "initialpose")


def test_moved_covariance_is_that_of_sampled_poses() -> None:
    """Disturb the camera by samples of its covariance (fixed axes) and look where the base goes."""
    rng = np.random.default_rng(0)
    root = rng.normal(scale=0.01, size=(6, 6))
    covariance = root @ root.T
    map_from_camera, camera_from_base = exp([0.4, 0.2, -0.7, 1, 2, 3]), exp([1.0, 0, 0.3, 0.5, -1.0, 0.8])
    map_from_base = map_from_camera @ camera_from_base
    samples = []
    for disturbance in rng.multivariate_normal(np.zeros(6), covariance, 6_000):
        turn = Rotation.from_rotvec(disturbance[3:])
        moved = compose(turn.as_matrix() @ map_from_camera[:3, :3], map_from_camera[:3, 3] + disturbance[:3])
        base = moved @ camera_from_base
        rotation = Rotation.from_matrix(base[:3, :3] @ map_from_base[:3, :3].T).as_rotvec()
        samples.append([*(base[:3, 3] - map_from_base[:3, 3]), *rotation])
    expected = np.cov(np.transpose(samples))
    found = covariance_at(covariance, map_from_base[:3, 3] - map_from_camera[:3, 3])
    np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())
    assert np.abs(found - covariance).max() > 0.2 * np.abs(expected).max()
