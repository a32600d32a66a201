"""Coarse loss: circle loss on nodes, weighted by their overlap (METHOD 3, 8.10)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diff2i2p_core.losses.circle import circle_loss
from diff2i2p_core.models.matching import feature_distance

SCALE = 40.0
POSITIVE_OVERLAP = 0.3
NEGATIVE_OVERLAP = 0.2


@dataclass(frozen=True)
class NodeOverlaps:
    """Overlapping pairs: rows of image nodes and superpoints, and the overlap seen from each side."""

    image_nodes: NDArray[np.int64]
    point_nodes: NDArray[np.int64]
    image_overlaps: NDArray[np.float32]
    point_overlaps: NDArray[np.float32]


def coarse_loss(
    image_nodes: Tensor,
    point_nodes: Tensor,
    image_valid: Tensor,
    point_valid: Tensor,
    overlaps: NodeOverlaps,
    released: bool = False,
) -> Tensor:
    """Circle loss of L2-normalised nodes (M, D), (S, D).

    Positive above 0.3 of the smaller of both overlaps, weighted by its root; negative below 0.2 of the
    larger one. `released` takes the smaller one for negatives, too (METHOD D5).
    """
    rows = torch.as_tensor(overlaps.image_nodes, device=image_nodes.device)
    columns = torch.as_tensor(overlaps.point_nodes, device=image_nodes.device)
    both = torch.as_tensor(
        np.stack([overlaps.image_overlaps, overlaps.point_overlaps]),
        device=image_nodes.device,
        dtype=image_nodes.dtype,
    )
    smaller = image_nodes.new_zeros(len(image_nodes), len(point_nodes))
    smaller[rows, columns] = both.amin(0)
    larger = smaller
    if not released:
        larger = torch.zeros_like(smaller)
        larger[rows, columns] = both.amax(0)
    used = image_valid.unsqueeze(1) & point_valid.unsqueeze(0)
    positives, negatives = (smaller > POSITIVE_OVERLAP) & used, (larger < NEGATIVE_OVERLAP) & used
    return circle_loss(
        feature_distance(image_nodes, point_nodes), positives, negatives, SCALE, smaller.sqrt()
    )
