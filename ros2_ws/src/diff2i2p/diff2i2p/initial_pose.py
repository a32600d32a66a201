"""Approximate poses that are given to the node: from a message, with its covariance, or from a parameter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped

from diff2i2p.headers import check_map_frame
from diff2i2p.parameters import Parameters
from diff2i2p.poses import Matrix, matrix_from_pose
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.pose_text import pose_from_text

SIGMAS = 3.0
"""Standard deviations by which the given pose may be off."""


@dataclass(frozen=True)
class InitialPose:
    """A pose of the body, and by how many metres and degrees it may be off; None: as far as priors may."""

    map_from_body: Matrix
    within: tuple[float, float] | None = None


def pose_from_message(message: PoseWithCovarianceStamped, map_frame: str, what: str) -> InitialPose:
    """InputError naming `what` for another frame, an invalid pose or an impossible covariance."""
    check_map_frame(message.header.frame_id, map_frame, what, "set RViz's fixed frame")
    pose = matrix_from_pose(message.pose.pose, what)
    return InitialPose(pose, _within(np.reshape(message.pose.covariance, (6, 6)), what))


def pose_from_parameter(parameters: Parameters) -> InitialPose | None:
    """The pose that the parameter `initial_pose` holds; None if it is empty."""
    text = parameters.initial_pose
    if not text.strip():
        return None
    if text.count(",") == 3 and not parameters.base_frame:
        raise InputError(
            "parameter initial_pose: without base_frame it is the pose of the camera's optical frame, "
            "which needs x,y,z,qx,qy,qz,qw"
        )
    return InitialPose(pose_from_text(text, "parameter initial_pose", (4, 7)))


def _within(covariance: Matrix, what: str) -> tuple[float, float] | None:
    """Metres and degrees along the worst directions. None for zeros, which mean that it is unknown."""
    if not covariance.any():
        return None
    # The lower triangle is enough, as a covariance is symmetric.
    variances = np.array([np.linalg.eigvalsh(np.nan_to_num(block)) for block in _blocks(covariance)])
    if not np.isfinite(covariance).all() or variances.min() < -1e-6 * max(variances.max(), 1e-6):
        raise InputError(
            f"{what}: its covariance has negative variances, NaN or infinity; send m^2 and rad^2, or zeros"
        )
    metres, radians = SIGMAS * np.sqrt(np.maximum(variances[:, -1], 0.0))
    return float(metres), float(np.degrees(radians))


def _blocks(covariance: Matrix) -> tuple[Matrix, Matrix]:
    """Of the position and of the rotation."""
    return covariance[:3, :3], covariance[3:, 3:]
