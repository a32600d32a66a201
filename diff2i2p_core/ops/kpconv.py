"""Kernel point convolution (Thomas et al., ICCV 2019), rigid kernels with linear influence."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diff2i2p_core.ops.backend import use_triton
from diff2i2p_core.ops.gather import gather_padded
from diff2i2p_core.ops.neighborhood import KERNEL_SIZE, Neighborhood


@torch.no_grad()
def kernel_influence(offsets: Tensor, kernel_points: Tensor, sigma: float) -> Tensor:
    """Weights max(0, 1 - |p_j - q - k| / sigma) of each neighbour for each kernel point: (M, 15, K).

    `offsets` come from `Neighborhood.offsets`.
    """
    # |r - k|^2 = -2 r k + |r|^2 + |k|^2 as one matrix product, never in half precision.
    norms = kernel_points.square().sum(-1, keepdim=True)
    lifted = torch.cat([-2 * kernel_points, torch.ones_like(norms), norms], dim=1)
    with torch.autocast(offsets.device.type, enabled=False):
        squared = offsets @ lifted.t()
    return squared.clamp_(min=0).sqrt_().div_(-sigma).add_(1).clamp_(min=0).transpose(1, 2)


def kpconv(
    features: Tensor,
    neighborhood: Neighborhood,
    kernel_points: Tensor,
    sigma: float,
    weights: Tensor,
    normalization: str,
) -> Tensor:
    """features (N, C), kernel_points (15, 3) and influence radius in metres, weights (15, C, D) to (M, D).

    Sums over kernel points of (influence-weighted neighbour features) x weights, divided by the number of
    real neighbours, or of those with a positive feature sum (`positive_sum`, as released: docs/method.md R9).
    Differentiable in features and weights.
    """
    if use_triton(features):
        from diff2i2p_core.ops.kernels.kpconv import fused_kpconv

        return fused_kpconv(features, neighborhood, kernel_points, sigma, weights, normalization)
    neighbors = neighborhood.neighbors
    influence = kernel_influence(neighborhood.offsets, kernel_points, sigma).to(features.dtype)
    per_kernel_point = torch.bmm(influence, gather_padded(features, neighbors))
    output = per_kernel_point.flatten(1) @ weights.flatten(0, 1)
    if normalization == "positive_sum":
        positive = features.detach().sum(1, keepdim=True) > 0
        count = gather_padded(positive, neighbors).sum((1, 2))
    else:
        count = (neighbors < len(features)).sum(1)
    return output / count.clamp(min=1).unsqueeze(1)


@lru_cache(maxsize=1)
def kernel_disposition() -> NDArray[np.float64]:
    """(15, 3) points in the unit ball: one in the centre, the others spread by mutual repulsion.

    They are up to 0.044 from where they would come to rest, as the shrinking steps end before the slowest
    motion, a twist of the two rings. Steps of one size would get there, but training from a seed and the
    numbers in `tests/golden` begin with these points. Checkpoints carry their own.
    """
    rng = np.random.default_rng(0)
    points = rng.normal(size=(KERNEL_SIZE, 3))
    points *= 0.66 / np.linalg.norm(points, axis=1, keepdims=True)
    points[0] = 0
    for step in range(2000):
        difference = points[:, None] - points[None]
        squared = (difference**2).sum(-1) + np.eye(KERNEL_SIZE)
        force = (difference / squared[..., None] ** 1.5).sum(1) - 10 * points
        points[1:] += 0.01 * 0.999**step * force[1:]
    return np.asarray(points * (0.66 / np.linalg.norm(points[1:], axis=1).mean()))
