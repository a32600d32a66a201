"""The outputs of the two branches and of matching."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

Self = TypeVar("Self", bound="_Tensors")


@dataclass(frozen=True)
class _Tensors:
    def to(self: Self, device: torch.device | str) -> Self:
        """A copy with every tensor on `device`."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v.to(device) for k, v in values.items() if isinstance(v, Tensor)})


@dataclass(frozen=True)
class ImageFeatures(_Tensors):
    """One encoded image. Fine pixels are the cells of the fine map, row by row."""

    fine: Tensor
    """(P, C) L2-normalised fine features."""
    fine_size: tuple[int, int]
    """Rows and columns of the fine map; P is their product."""
    fine_valid: Tensor
    """(P,) False on padding."""
    pixels: Tensor
    """(P, 2) centres (u, v) in pixels of the network's input image."""
    tokens: Tensor
    """(T, D) input of the fusion transformer."""
    grid: tuple[int, int]
    """Rows and columns of the token grid."""
    token_valid: Tensor
    """(T,) False on padding."""
    nodes: Tensor
    """(M, D) L2-normalised nodes of all levels before fusion: for retrieval and the multi-scale loss."""
    node_valid: Tensor
    """(M,) False where nothing in the node can be matched."""
    points: Tensor | None = None
    """(P, 3) back-projected query depth, (0, 0, 0) where unknown; `rgbd` mode only."""
    extent: Tensor | None = None
    """(3,) metres that the back-projected query spans; `rgbd` mode only."""
    patch_step: int = 1
    """Fine matching uses every n-th row and column of fine pixels."""


@dataclass(frozen=True)
class SubmapFeatures(_Tensors):
    """One encoded cloud. It depends only on the map, so it is cached with the map."""

    points: Tensor
    """(N, 3) finest points in the submap frame, metres."""
    fine: Tensor
    """(N, C) L2-normalised fine features."""
    superpoints: Tensor
    """(S, 3) coarsest points."""
    tokens: Tensor
    """(S, D) input of the fusion transformer."""
    nodes: Tensor
    """(S, D) L2-normalised nodes before fusion."""
    node_valid: Tensor
    """(S,) False for superpoints with too few points."""
    patches: Tensor
    """(S, K) rows of `points` that belong to each superpoint, nearest first; N is padding."""


@dataclass(frozen=True)
class FusedNodes(_Tensors):
    """L2-normalised nodes of both modalities after fusion."""

    image: Tensor
    """(M, D)."""
    points: Tensor
    """(S, D)."""


@dataclass(frozen=True)
class Correspondences(_Tensors):
    """Matches between an image and a submap, sorted by pixel, then point."""

    pixels: Tensor
    """(C, 2) (u, v) in pixels of the network's input image."""
    points: Tensor
    """(C, 3) metres in the submap frame, after correspondence tuning if the model has it."""
    scores: Tensor
    """(C,) cosine similarity of the fine features or, if the model has it, the confidence."""
    pixel_indices: Tensor
    """(C,) rows of the image's fine features."""
    point_indices: Tensor
    """(C,) rows of the submap's points."""
    image_nodes: Tensor
    """(Q,) coarse pairs that were searched: rows of the image nodes,"""
    point_nodes: Tensor
    """(Q,) and rows of the superpoints."""
    offsets: Tensor | None = None
    """(C, 3) predicted tuning offsets (before scaling); None without tuning."""

    def __len__(self) -> int:
        return len(self.scores)

    def deformed(self, points: Tensor) -> Tensor:
        """The submap's points (N, 3) with tuned positions for the matched ones, without their gradient."""
        return points.index_copy(0, self.point_indices, self.points.detach())
