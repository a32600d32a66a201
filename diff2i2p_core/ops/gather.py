"""Gathering neighbours by padded index tables."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gather_padded(values: Tensor, indices: Tensor, padding: float = 0.0) -> Tensor:
    """Rows of `values` (N, C) by `indices` (M, K) in [0, N]; index N gives `padding`. Returns (M, K, C)."""
    # On the CPU, the backward pass of index_select is much cheaper than that of advanced indexing.
    rows = _padded(values, padding).index_select(0, indices.reshape(-1))
    return rows.view(*indices.shape, values.shape[1])


def max_pool(values: Tensor, indices: Tensor) -> Tensor:
    """Maximum over neighbours (M, K) of `values` (N, C); padding counts as zero. Returns (M, C)."""
    return F.embedding_bag(indices, _padded(values), mode="max")


def interpolation_weights(queries: Tensor, supports: Tensor, indices: Tensor) -> Tensor:
    """Normalised inverse squared distances (M, K) of `queries` (M, 3) to their neighbours; 0 for padding."""
    neighbors = gather_padded(supports, indices, padding=1e6)
    weights = 1.0 / ((neighbors - queries.unsqueeze(1)).square().sum(-1) + 1e-8)
    weights = weights.masked_fill(indices == len(supports), 0.0)
    return weights / (weights.sum(1, keepdim=True) + 1e-8)


def interpolate(values: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum over neighbours: values (N, C), indices and weights (M, K) to (M, C)."""
    # It sums while gathering, so the (M, K, C) neighbours are never in memory.
    return F.embedding_bag(indices, _padded(values), mode="sum", per_sample_weights=weights)


def _padded(values: Tensor, padding: float = 0.0) -> Tensor:
    return torch.cat([values, values.new_full((1, values.shape[1]), padding)])
