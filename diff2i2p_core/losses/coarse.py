"""Coarse losses on nodes: the overlap-weighted circle loss of 2D3D-MATR, and a contrastive loss."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diff2i2p_core.losses.circle import circle_loss
from diff2i2p_core.losses.settings import CoarseSettings
from diff2i2p_core.models.matching import feature_distance
from diff2i2p_core.pairs.targets import NodeOverlaps

SCALE = 40.0
POSITIVE_OVERLAP = 0.3
NEGATIVE_OVERLAP = 0.2


def coarse_circle_loss(
    image_nodes: Tensor, point_nodes: Tensor, used: Tensor, overlaps: NodeOverlaps, settings: CoarseSettings
) -> Tensor:
    """Circle loss of L2-normalised nodes (M, D), (S, D) on the entries `used` (M, S): docs/method.md R17.

    Pairs are positive if the smaller of both overlaps is above 0.3, weighted by its square root. They are
    negative if the larger one is below 0.2 (or the smaller one, depending on the settings).
    """
    smaller, larger = dense_overlaps(overlaps, image_nodes, point_nodes)
    positives = (smaller > POSITIVE_OVERLAP) & used
    apart = ((smaller if settings.negatives == "smaller" else larger) < NEGATIVE_OVERLAP) & used
    return circle_loss(feature_distance(image_nodes, point_nodes), positives, apart, SCALE, smaller.sqrt())


def coarse_contrastive_loss(
    image_nodes: Tensor, point_nodes: Tensor, used: Tensor, overlaps: NodeOverlaps, settings: CoarseSettings
) -> Tensor:
    """Cross-entropy of each node's similarities to the other modality, with its overlaps as the target.

    The circle loss starts on a plateau (all distances equal) that takes thousands of steps to leave. This
    loss does not. Nodes without a positive overlap (smaller overlap above 0.3) are ignored.
    """
    smaller, _ = dense_overlaps(overlaps, image_nodes, point_nodes)
    smaller = smaller * used
    logits = (image_nodes @ point_nodes.t() / settings.temperature).masked_fill(~used, -1e4)
    losses = []
    for similarity, overlap in ((logits, smaller), (logits.t(), smaller.t())):
        rows = overlap.amax(1) > POSITIVE_OVERLAP
        if bool(rows.any()):
            target = overlap[rows] / overlap[rows].sum(1, keepdim=True)
            losses.append(F.cross_entropy(similarity[rows], target))
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def dense_overlaps(overlaps: NodeOverlaps, image_nodes: Tensor, point_nodes: Tensor) -> tuple[Tensor, Tensor]:
    """The smaller and the larger of both overlaps, (M, S) each."""
    rows = torch.as_tensor(overlaps.image_nodes, device=image_nodes.device)
    columns = torch.as_tensor(overlaps.point_nodes, device=image_nodes.device)
    both = np.stack([overlaps.image_overlaps, overlaps.point_overlaps])
    values = torch.as_tensor(both, device=image_nodes.device, dtype=image_nodes.dtype)
    smaller = image_nodes.new_zeros(len(image_nodes), len(point_nodes))
    larger = torch.zeros_like(smaller)
    smaller[rows, columns] = values.amin(0)
    larger[rows, columns] = values.amax(0)
    return smaller, larger
