"""Which fine pixels belong to which image node, and which points to which superpoint (docs/method.md R12)."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from diff2i2p_core.models.image_branch import NODE_LEVELS


def level_sizes(grid: tuple[int, int]) -> list[tuple[int, int]]:
    """Rows and columns of the node levels above a token grid, finest first."""
    return [(grid[0] >> level, grid[1] >> level) for level in range(NODE_LEVELS)]


def level_offsets(grid: tuple[int, int]) -> list[int]:
    """Index of the first node of each level, then the number of nodes."""
    offsets = [0]
    for rows, columns in level_sizes(grid):
        offsets.append(offsets[-1] + rows * columns)
    return offsets


@lru_cache(maxsize=16)
def image_patches(
    grid: tuple[int, int], fine_size: tuple[int, int], step: int, device: torch.device | str = "cpu"
) -> tuple[Tensor, ...]:
    """For each level (nodes, pixels per node): fine pixels of each node, every `step`-th row and column."""
    patches = []
    indices = torch.arange(fine_size[0] * fine_size[1]).view(fine_size)[::step, ::step]
    for rows, columns in level_sizes(grid):
        height, width = indices.shape[0] // rows, indices.shape[1] // columns
        blocks = indices.view(rows, height, columns, width).permute(0, 2, 1, 3)
        patches.append(blocks.reshape(rows * columns, height * width).to(device))
    return tuple(patches)


def nearest_superpoint(points: Tensor, superpoints: Tensor, chunk: int = 8192) -> tuple[Tensor, Tensor]:
    """For each of (N, 3) points, the squared distance and row of the nearest of (S, 3) superpoints."""
    distances, rows = [], []
    for part in points.split(chunk):
        squared = torch.cdist(part, superpoints).square()
        nearest = squared.min(dim=1)
        distances.append(nearest.values)
        rows.append(nearest.indices)
    return torch.cat(distances), torch.cat(rows)


@torch.no_grad()
def point_patches(points: Tensor, superpoints: Tensor, limit: int, min_points: int) -> tuple[Tensor, Tensor]:
    """The points of each superpoint, nearest first: (S, K) padded with N, and which nodes are valid (S,).

    A point belongs to its nearest superpoint. K is the smaller of `limit` and the largest patch.
    """
    total = len(superpoints)
    distances, owner = nearest_superpoint(points, superpoints)
    counts = torch.bincount(owner, minlength=total)
    order = torch.argsort(distances, stable=True)
    order = order[torch.argsort(owner[order], stable=True)]
    first = torch.cumsum(counts, 0) - counts
    rank = torch.arange(len(points), device=points.device) - first[owner[order]]
    width = int(min(limit, int(counts.max())))
    listed = rank < width
    patches = torch.full((total, width), len(points), dtype=torch.long, device=points.device)
    patches[owner[order][listed], rank[listed]] = order[listed]
    return patches, counts >= min_points
