"""Supervision of the PnP pose: rotation and translation errors against the truth.

The released code computes a pose residual and never adds it to its loss; here the pose is supervised.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class PoseLoss(NamedTuple):
    rotation: Tensor
    """Mean geodesic angle in radians over the valid samples."""
    translation: Tensor
    """Mean distance in metres over the valid samples."""


def pose_loss(estimated: Tensor, truth: Tensor, valid: Tensor | None = None) -> PoseLoss:
    """Errors of camera_from_cloud (B, 4, 4) against the truth, over the samples of `valid` (B,).

    The translation error is that of the camera's position in the cloud, |R^T t - R'^T t'|. Without a valid
    sample both are zero and still part of the graph. Gradients are finite everywhere, zero at zero error.
    """
    weight = torch.ones_like(estimated[:, 0, 0]) if valid is None else valid.to(estimated.dtype)
    # Errors of dropped samples may be meaningless; NaN * 0 would spread, so they are replaced.
    estimated = torch.where(weight[:, None, None] > 0, estimated, truth.to(estimated.dtype))
    count = weight.sum().clamp(min=1)
    rotation = rotation_angle(estimated[:, :3, :3], truth[:, :3, :3].to(estimated.dtype))
    offset = camera_position(estimated) - camera_position(truth.to(estimated.dtype))
    return PoseLoss((rotation * weight).sum() / count, (_safe_norm(offset) * weight).sum() / count)


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
