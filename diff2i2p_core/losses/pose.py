"""Poses from the matches of pairs, by differentiable PnP, and their errors against the truth.

The released code computes a pose residual, but never adds it to its loss. Here the pose is supervised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from diff2i2p_core.geometry.differentiable_pnp import PnPSolution, differentiable_pnp
from diff2i2p_core.geometry.released_pnp import (
    pose_matrix,
    pose_vector,
    released_start,
    with_released_gradients,
)
from diff2i2p_core.losses.settings import PoseSettings
from diff2i2p_core.models.features import Correspondences
from diff2i2p_core.pairs.pair import Pair

WORST_DEG, WORST_M = 30.0, 1.0
"""Larger errors, and pairs without a pose, count as this value in the metrics. Otherwise a few bad pairs
would dominate the mean."""


@dataclass(frozen=True)
class EstimatedPoses:
    """PnP poses of B pairs, float64."""

    camera_from_cloud: Tensor
    """(B, 4, 4), with gradients to the matches' points and scores."""
    valid: Tensor
    """(B,) whether PnP found a pose."""
    used: Tensor
    """(B,) whether the pose is also within the gate."""
    rotation: Tensor
    """(B,) error in radians; zero where not used."""
    translation: Tensor
    """(B,) metres."""
    off: PoseErrors
    """Errors of all poses, used or not, without gradients; arbitrary where not valid."""


def estimate_poses(
    pairs: Sequence[Pair], matches: Sequence[Correspondences], settings: PoseSettings
) -> EstimatedPoses:
    """One batched PnP over the matches of all pairs."""
    device = matches[0].scores.device
    orders = [_order(m.scores.detach(), settings) for m in matches]
    ordered = list(zip(matches, orders, strict=True))
    pixels = _padded([m.pixels[order] for m, order in ordered])
    weights = None
    if settings.score_temperature is not None:
        weights = _padded([_weights(m.scores[order], settings.score_temperature) for m, order in ordered])
    solution = _solve(
        pixels.flip(-1) if settings.pixel_order == "row_column" else pixels,
        _padded([m.points[order] for m, order in ordered]),
        torch.from_numpy(np.stack([p.camera.matrix for p in pairs])).to(device),
        weights,
        torch.tensor([len(order) for order in orders], device=device),
        settings,
    )
    poses = solution.camera_from_cloud
    truth = torch.from_numpy(np.stack([p.camera_from_cloud for p in pairs])).to(poses)
    with torch.no_grad():
        off = pose_errors(poses, truth)
        used = solution.valid & (off.rotation.rad2deg() <= (settings.gate_deg or torch.inf))
        used &= off.translation <= (settings.gate_m or torch.inf)
    errors = pose_errors(poses, truth, used)
    return EstimatedPoses(poses, solution.valid, used, errors.rotation, errors.translation, off)


def _order(scores: Tensor, settings: PoseSettings) -> Tensor:
    """The matches that are used: best first, or in the order of their pixels for the released RANSAC."""
    best = scores.argsort(descending=True, stable=True)[: settings.max_matches]
    return best.sort().values if settings.start == "released" else best


def _solve(
    pixels: Tensor,
    points: Tensor,
    intrinsics: Tensor,
    weights: Tensor | None,
    lengths: Tensor,
    settings: PoseSettings,
) -> PnPSolution:
    """Poses of padded matches, from the start and with the derivatives that the settings name."""
    start = released_start(pixels, points, intrinsics, lengths) if settings.start == "released" else None
    if start is not None and settings.gradient == "released":
        counted = torch.arange(points.shape[1], device=points.device) < lengths[:, None]
        weights = counted.double() if weights is None else weights * counted
        return with_released_gradients(start, pixels, points, intrinsics, weights)
    solution = differentiable_pnp(
        pixels,
        points,
        intrinsics,
        weights,
        lengths=lengths,
        start=None if start is None else pose_matrix(start),
        inlier_threshold=settings.inlier_px,
    )
    if settings.gradient == "exact":
        return solution
    weights = solution.inliers.double() if weights is None else weights * solution.inliers
    poses = pose_vector(solution.camera_from_cloud.detach())
    return with_released_gradients(poses, pixels, points, intrinsics, weights)


def pose_terms(poses: EstimatedPoses) -> dict[str, Tensor]:
    """The pose loss and its detached metrics, as means over the pairs.

    A pair without a usable pose adds nothing but counts in the mean, so splitting a batch does not change
    gradients.
    """
    rotation, translation = poses.rotation.mean().float(), poses.translation.mean().float()
    metrics = {
        "pose_found": poses.valid.float().mean(),
        "pose_used": poses.used.float().mean(),
        "pose_deg": _worst_at(poses.off.rotation.rad2deg(), poses.valid, WORST_DEG),
        "pose_m": _worst_at(poses.off.translation, poses.valid, WORST_M),
    }
    return {"rotation": rotation, "translation": translation, **metrics}


def _weights(scores: Tensor, temperature: float) -> Tensor:
    """PnP does not depend on a common factor, so the best score gets 1."""
    scores = scores.double()
    best = scores.detach().max() if len(scores) else 0.0
    return ((scores - best) / temperature).exp()


def _padded(rows: list[Tensor]) -> Tensor:
    """(B, N, ...) float64 from B ragged tensors; N is at least 1."""
    padded = pad_sequence([row.double() for row in rows], batch_first=True)
    if padded.shape[1]:
        return padded
    return torch.cat([padded, padded.new_zeros(len(rows), 1, *padded.shape[2:])], dim=1)


def _worst_at(errors: Tensor, valid: Tensor, worst: float) -> Tensor:
    return torch.where(valid, errors.clamp(max=worst), worst).float().mean()


class PoseErrors(NamedTuple):
    rotation: Tensor
    """(B,) geodesic angle in radians."""
    translation: Tensor
    """(B,) metres between the camera's positions in the cloud, |R^T t - R'^T t'|."""


def pose_errors(estimated: Tensor, truth: Tensor, valid: Tensor | None = None) -> PoseErrors:
    """Errors of camera_from_cloud (B, 4, 4) against the truth. Zero where `valid` (B,) is false.

    Gradients are always finite. They are zero at zero error and for samples that are not valid.
    """
    truth = truth.to(estimated)
    if valid is not None:
        # Errors of dropped samples may be NaN. NaN * 0 would spread, so they are replaced.
        estimated = torch.where(valid[:, None, None], estimated, truth)
    offset = camera_position(estimated) - camera_position(truth)
    return PoseErrors(rotation_angle(estimated[:, :3, :3], truth[:, :3, :3]), _safe_norm(offset))


def rotation_angle(a: Tensor, b: Tensor) -> Tensor:
    """Angle (B,) in radians between rotations (B, 3, 3): atan2(|sin|, cos), accurate near 0 and pi."""
    relative = (a[:, :, :, None] * b[:, :, None]).sum(1)  # a^T b; mixed precision would round `@`
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
    """The camera's centre (B, 3) in the cloud's frame, from (B, 4, 4)."""
    return -(camera_from_cloud[:, :3, :3] * camera_from_cloud[:, :3, 3:]).sum(1)


def _safe_norm(vectors: Tensor) -> Tensor:
    """Length along the last axis, with a gradient of zero at zero instead of NaN."""
    squared = vectors.square().sum(-1)
    zero = squared == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, squared).sqrt())
