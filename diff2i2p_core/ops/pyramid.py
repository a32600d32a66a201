"""The point pyramid: levels of grid-averaged points with tables of neighbours (docs/method.md R4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diff2i2p_core.ops.grid import grid_subsample
from diff2i2p_core.ops.neighbors import neighbor_search


@dataclass(frozen=True)
class PointPyramid:
    """Packed clouds at L levels. Index tables hold rows of their support level; its size is padding."""

    points: list[Tensor]
    """L times (N_i, 3) metres."""
    neighbors: list[Tensor]
    """L times (N_i, K_i): level i in level i."""
    subsampling: list[Tensor]
    """L-1 times (N_{i+1}, K_i): level i+1 in level i."""
    upsampling: list[Tensor]
    """L-1 times (N_i, K_{i+1}): level i in level i+1."""
    lengths: list[list[int]]
    """L times the lengths of the packed clouds."""

    def to(self, device: torch.device | str) -> PointPyramid:
        moved = {
            name: [table.to(device) for table in getattr(self, name)]
            for name in ("points", "neighbors", "subsampling", "upsampling")
        }
        return replace(self, **moved)


def build_pyramid(
    points: NDArray[np.float32] | Tensor,
    voxel: float,
    limits: Sequence[int],
    lengths: Sequence[int] | None = None,
) -> PointPyramid:
    """The pyramid of a cloud (N, 3), or of packed clouds, already sampled at `voxel`, on the points' device.

    `limits` is the number of neighbours per level. Level i > 0 averages level i-1 in voxels of `voxel * 2^i`.
    Radii are 2.5 voxels, doubled for upsampling.
    """
    levels = [torch.as_tensor(points, dtype=torch.float32).contiguous()]
    sizes = [list(lengths) if lengths is not None else [len(points)]]
    for i in range(1, len(limits)):
        means, size = grid_subsample(levels[-1], voxel * 2**i, sizes[-1])
        levels.append(means)
        sizes.append(size)
    # The radius for upsampling, twice that of the finer level, equals the radius of its support level.
    searches = [neighbor_search(level, 2.5 * voxel * 2**i, sizes[i]) for i, level in enumerate(levels)]

    def table(queries: int, supports: int) -> Tensor:
        limit = max(2, min(limits[supports], max(sizes[supports])))
        return searches[supports](levels[queries], limit, sizes[queries])

    return PointPyramid(
        points=levels,
        neighbors=[table(i, i) for i in range(len(levels))],
        subsampling=[table(i + 1, i) for i in range(len(levels) - 1)],
        upsampling=[table(i, i + 1) for i in range(len(levels) - 1)],
        lengths=sizes,
    )


def pack_pyramids(pyramids: Sequence[PointPyramid]) -> PointPyramid:
    """Several pyramids with the same number of levels as one, with tables shifted and padded."""
    if len(pyramids) == 1:
        return pyramids[0]
    levels = len(pyramids[0].points)
    sizes = [[len(p.points[i]) for p in pyramids] for i in range(levels)]

    def pack(name: str, i: int, support: int) -> Tensor:
        tables = [getattr(p, name)[i] for p in pyramids]
        width = max(table.shape[1] for table in tables)
        total = sum(sizes[support])
        packed, offset = [], 0
        for table, size in zip(tables, sizes[support], strict=True):
            shifted = torch.where(table < size, table + offset, total)
            packed.append(torch.nn.functional.pad(shifted, (0, width - table.shape[1]), value=total))
            offset += size
        return torch.cat(packed)

    return PointPyramid(
        points=[torch.cat([p.points[i] for p in pyramids]) for i in range(levels)],
        neighbors=[pack("neighbors", i, i) for i in range(levels)],
        subsampling=[pack("subsampling", i, i) for i in range(levels - 1)],
        upsampling=[pack("upsampling", i, i + 1) for i in range(levels - 1)],
        lengths=sizes,
    )
