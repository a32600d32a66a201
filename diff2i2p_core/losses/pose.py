"""Supervision of the PnP pose: rotation and translation errors against the truth.

The released code computes a pose residual and never adds it to its loss; here the pose is supervised.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class PoseErrors(NamedTuple):
    rotation: Tensor
    """(B,) geodesic angle in radians."""
    translation: Tensor
    """(B,) metres between the camera's positions in the cloud, |R^T t - R'^T t'|."""


def pose_errors(estimated: Tensor, truth: Tensor, valid: Tensor | None = None) -> PoseErrors:
    """Errors of camera_from_cloud (B, 4, 4) against the truth; zero where `valid` (B,) is false.

    Gradients are finite everywhere, zero at zero error and for samples that are not valid.
    """
    truth = truth.to(estimated)
    if valid is not None:
        # Errors of dropped samples may be meaningless; NaN * 0 would spread, so they are replaced.
        estimated = torch.where(valid[:, None, None], estimated, truth)
    offset = camera_position(estimated) - camera_position(truth)
    return PoseErrors(rotation_angle(estimated[:, :3, :3], truth[:, :3, :3]), _safe_norm(offset))


def rotation_angle(a: Tensor, b: Tensor) -> Tensor:
    """Geodesic distance (B,) in radians of rotations (B, 3, 3): atan2(|sin|, cos), accurate near 0 and pi."""
    relative = (a[:, :, :, None] * b[:, :, None]).sum(1)  # a^T b; `@` would be rounded by mixed precision
    axis = 0.5 * torch.stack(
        [
            relative[:, 2, 1] - relative[:, 1, 2],
            relative[:, 0, 2] - relative[:, 2, 0],
            relative[:, 1, 0] - relative[:, 0, 1],
        ],
        dim=-1,
    )
    cosine = 0.5 * (relative.diagonal(dim1=1, dim2=2).sum(-1) - 1)
    return torch.atan2(_safe_norm(axis), cosine)


def camera_position(camera_from_cloud: Tensor) -> Tensor:
    """(B, 3) of (B, 4, 4): the camera's centre in the cloud's frame."""
    return -(camera_from_cloud[:, :3, :3] * camera_from_cloud[:, :3, 3:]).sum(1)


def _safe_norm(vectors: Tensor) -> Tensor:
    """Length over the last axis whose gradient at zero is zero instead of NaN."""
    squared = vectors.square().sum(-1)
    zero = squared == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, squared).sqrt())
