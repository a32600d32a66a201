"""The inputs of a kernel point convolution: points, the table of their neighbours, kernel points."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from diff2i2p_core.ops.gather import gather_padded

KERNEL_SIZE = 15
"""Number of kernel points of a kernel point convolution."""


@dataclass(frozen=True)
class Neighborhood:
    """A table of neighbours and its points. Convolutions on it share what is computed from it."""

    queries: Tensor
    """(M, 3) metres."""
    supports: Tensor
    """(N, 3) metres."""
    neighbors: Tensor
    """(M, K) rows of `supports`; N is padding."""

    @cached_property
    @torch.no_grad()
    def offsets(self) -> Tensor:
        """(M, K, 5) per neighbour: r = p_j - q (far away for padding), then |r|^2 and 1."""
        relative = gather_padded(self.supports, self.neighbors, padding=1e6) - self.queries.unsqueeze(1)
        squared = relative.square().sum(-1, keepdim=True)
        return torch.cat([relative, squared, torch.ones_like(squared)], dim=-1)

    @cached_property
    def transposed(self) -> tuple[Tensor, Tensor]:
        """(holders, starts): support n is a neighbour of queries `holders[starts[n] : starts[n + 1]]`."""
        supports, order = self.neighbors.reshape(-1).int().sort(stable=True)
        bounds = torch.arange(len(self.supports) + 1, dtype=torch.int32, device=supports.device)
        return torch.searchsorted(supports, bounds), order // self.neighbors.shape[1]
