"""The nearest neighbours within a radius, of packed clouds in packed clouds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from diff2i2p_core.ops.backend import use_triton

DENSE_DISTANCES = 2**26
"""Distances held at once by the search without a structure (256 MiB)."""


class NeighborSearch(Protocol):
    def __call__(self, queries: Tensor, limit: int, lengths: Sequence[int]) -> Tensor:
        """The `limit` nearest supports (M, limit) of each query (M, 3), nearest first.

        Rows of the packed supports, their number where fewer are within the radius. `lengths`: the packed
        queries', as many clouds as the supports'; a cloud finds neighbours in its own supports alone.
        """
        ...


def neighbor_search(supports: Tensor, radius: float, lengths: Sequence[int]) -> NeighborSearch:
    """A search in packed supports (N, 3) of these lengths: built once, asked many times.

    On the CPU a KD-tree with as many threads as torch has; on a GPU a sorted grid of cells and a kernel that
    looks through them, or without Triton all distances. Neighbours are nearer than `radius` metres; with an
    infinite radius they are the k nearest, at the price of all distances on a GPU.
    """
    if use_triton(supports):
        from diff2i2p_core.ops.kernels.neighbors import CellSearch

        return CellSearch(supports, radius, lengths)
    return (_TreeSearch if supports.device.type == "cpu" else DenseSearch)(supports, radius, lengths)


class _TreeSearch:
    def __init__(self, supports: Tensor, radius: float, lengths: Sequence[int]) -> None:
        self.radius = radius
        self.bounds = _bounds(lengths)
        self.trees = [cKDTree(supports[a:b].numpy()) for a, b in pairwise(self.bounds)]

    def __call__(self, queries: Tensor, limit: int, lengths: Sequence[int]) -> Tensor:
        tables = []
        for i, (a, b) in enumerate(pairwise(_bounds(lengths))):
            _, rows = self.trees[i].query(
                queries[a:b].numpy(),
                k=np.arange(1, limit + 1),
                distance_upper_bound=self.radius,
                workers=torch.get_num_threads(),
            )
            first, last = self.bounds[i : i + 2]
            if len(self.trees) > 1:
                rows = np.where(rows < last - first, rows + first, self.bounds[-1])
            tables.append(rows.astype(np.int64, copy=False))
        # Not by torch: its threads would go on spinning, on the cores of the next search.
        return torch.from_numpy(tables[0] if len(tables) == 1 else np.concatenate(tables))


class DenseSearch:
    """Every distance, a block of queries at a time: on any device, for comparison and without Triton."""

    def __init__(self, supports: Tensor, radius: float, lengths: Sequence[int]) -> None:
        self.supports, self.radius = supports, radius
        self.bounds = _bounds(lengths)

    @torch.no_grad()
    def __call__(self, queries: Tensor, limit: int, lengths: Sequence[int]) -> Tensor:
        none = self.bounds[-1]
        table = torch.full((len(queries), limit), none, device=queries.device)
        for i, (a, b) in enumerate(pairwise(_bounds(lengths))):
            first, last = self.bounds[i : i + 2]
            width = min(limit, last - first)
            rows = max(1, DENSE_DISTANCES // max(1, last - first))
            for c in range(a, b, rows):
                part = queries[c : min(c + rows, b)]
                # Not by a matrix product: its rounding is that of the coordinates squared.
                distances = torch.cdist(
                    part, self.supports[first:last], compute_mode="donot_use_mm_for_euclid_dist"
                )
                nearest, found = distances.topk(width, largest=False)
                table[c : c + len(part), :width] = torch.where(nearest < self.radius, found + first, none)
        return table


def _bounds(lengths: Sequence[int]) -> list[int]:
    """Where each cloud begins, and the end of the last."""
    return [0, *np.cumsum(lengths).tolist()]
