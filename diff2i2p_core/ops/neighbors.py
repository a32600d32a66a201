"""Nearest neighbours within a radius, between packed clouds."""

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
"""Number of distances held at once by the brute-force search (256 MiB)."""


class NeighborSearch(Protocol):
    def __call__(self, queries: Tensor, limit: int, lengths: Sequence[int]) -> Tensor:
        """The `limit` nearest supports (M, limit) of each query (M, 3), nearest first.

        The values are rows of the packed supports, padded with the number of supports if fewer are within the
        radius. `lengths` are those of the packed queries, for as many clouds as the supports. A cloud finds
        neighbours only among its own supports.
        """
        ...


def neighbor_search(supports: Tensor, radius: float, lengths: Sequence[int]) -> NeighborSearch:
    """A search in packed supports (N, 3) of these lengths: built once, used many times.

    On the CPU it is a KD-tree with as many threads as torch uses. On a GPU it is a kernel that searches a
    sorted grid of cells or, without Triton, all distances. Neighbours are nearer than `radius` metres. With
    an infinite radius they are the k nearest, which on a GPU takes all distances.
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
        # Not with torch: its threads would keep spinning, on the cores of the next search.
        return torch.from_numpy(tables[0] if len(tables) == 1 else np.concatenate(tables))


class DenseSearch:
    """Computes all distances, one block of queries at a time. For any device, without Triton."""

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
                # Not as a matrix product, whose rounding errors are those of squared coordinates.
                distances = torch.cdist(
                    part, self.supports[first:last], compute_mode="donot_use_mm_for_euclid_dist"
                )
                nearest, indices = distances.topk(width, largest=False)
                table[c : c + len(part), :width] = torch.where(nearest < self.radius, indices + first, none)
        return table


def _bounds(lengths: Sequence[int]) -> list[int]:
    """The start of each cloud, and the end of the last."""
    return [0, *np.cumsum(lengths).tolist()]
