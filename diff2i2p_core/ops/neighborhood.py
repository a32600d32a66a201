"""What a kernel point convolution works on: points, the table of their neighbours, its kernel points."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from diff2i2p_core.ops.gather import gather_padded

KERNEL_SIZE = 15
"""Kernel points of a kernel point convolution."""


@dataclass(frozen=True)
class Neighborhood:
    """A table of neighbours and the points it is about; convolutions on it share what is computed from it."""

    queries: Tensor
    """(M, 3) metres."""
    supports: Tensor
    """(N, 3) metres."""
    neighbors: Tensor
    """(M, K) rows of `supports`; N stands for none."""

    @cached_property
    @torch.no_grad()
    def offsets(self) -> Tensor:
        """(M, K, 5) of each neighbour: r = p_j - q, far away for padding, then |r|^2 and 1."""
        relative = gather_padded(self.supports, self.neighbors, padding=1e6) - self.queries.unsqueeze(1)
        squared = relative.square().sum(-1, keepdim=True)
        return torch.cat([relative, squared, torch.ones_like(squared)], dim=-1)

    @cached_property
    def transposed(self) -> tuple[Tensor, Tensor]:
        """The queries that hold each support: support n's are `holders[starts[n] : starts[n + 1]]`."""
        supports, order = self.neighbors.reshape(-1).int().sort(stable=True)
        bounds = torch.arange(len(self.supports) + 1, dtype=torch.int32, device=supports.device)
        return torch.searchsorted(supports, bounds), order // self.neighbors.shape[1]
