"""Packed clouds on a grid: keys of the cells, and the mean of the points in each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from diff2i2p_core.geometry.voxels import voxel_means
from diff2i2p_core.ops.backend import use_triton


def cells_of(points: Tensor, size: float) -> Tensor:
    """The cell (N, 3) of each finite point (N, 3). Cells are anchored at the frame's origin."""
    return torch.div(points.double(), size).floor_().long()


def clouds_of(lengths: Sequence[int], device: torch.device) -> Tensor:
    """The index (N,) of the cloud that each point belongs to, for packed clouds of these lengths."""
    return torch.repeat_interleave(torch.tensor(lengths, device=device), output_size=sum(lengths))


def cell_keys(cells: Tensor, clouds: Tensor, extent: Tensor) -> Tensor:
    """One integer per cell (..., 3) in [0, extent) and cloud (...), in lexicographic order."""
    x, y, z = cells.unbind(-1)
    return ((clouds * extent[0] + x) * extent[1] + y) * extent[2] + z


@torch.no_grad()
def grid_subsample(points: Tensor, voxel: float, lengths: Sequence[int]) -> tuple[Tensor, list[int]]:
    """Mean points (M, 3) of packed clouds (N, 3) in each occupied voxel, and the new lengths of the clouds.

    The means of each cloud are in the order of their cells, as in `geometry.voxels.voxel_means`.
    """
    if not use_triton(points):
        # Not with torch: its threads spin for a while after each op, on cores that the searches need next.
        parts = [voxel_means(part.numpy(), voxel) for part in points.cpu().split(list(lengths))]
        return torch.from_numpy(np.concatenate(parts)).to(points.device), [len(part) for part in parts]
    from diff2i2p_core.ops.kernels.grid import segment_means

    if len(points) == 0:
        return points, list(lengths)
    cells = cells_of(points, voxel)
    low = cells.amin(0)
    keys = cell_keys(cells - low, clouds_of(lengths, points.device), cells.amax(0) - low + 1)
    keys, order = keys.sort(stable=True)
    new = torch.ones_like(keys, dtype=torch.bool)
    new[1:] = keys[1:] != keys[:-1]
    starts = new.nonzero()[:, 0]
    ends = torch.tensor(lengths, device=points.device).cumsum(0)
    last = torch.searchsorted(starts, ends)
    sizes: list[int] = torch.diff(last, prepend=last.new_zeros(1)).tolist()
    return segment_means(points, order, starts), sizes
