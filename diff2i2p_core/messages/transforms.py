"""Transforms and poses from ROS 2 messages, as seven numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def transform_row(transform: Any) -> tuple[float, ...]:
    """A Transform or a Pose as (x, y, z, qx, qy, qz, qw)."""
    position = transform.translation if hasattr(transform, "translation") else transform.position
    turn = transform.rotation if hasattr(transform, "rotation") else transform.orientation
    return (position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w)


def pose_of(message: Any) -> tuple[str, str, tuple[float, ...]]:
    """Parent, child ("" if there is none) and (x, y, z, qx, qy, qz, qw) of a message of type `POSES`."""
    child = getattr(message, "child_frame_id", "")
    pose = message.transform if hasattr(message, "transform") else message.pose
    return message.header.frame_id, child, transform_row(getattr(pose, "pose", pose))


def is_pose(row: Sequence[float]) -> bool:
    """Whether (x, y, z, qx, qy, qz, qw) is finite and has a unit quaternion."""
    return bool(np.isfinite(row).all() and abs(np.linalg.norm(row[3:]) - 1) < 0.05)
