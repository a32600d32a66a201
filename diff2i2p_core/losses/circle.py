"""Circle loss on a matrix of feature distances (Sun et al., CVPR 2020, as in 2D3D-MATR)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

POSITIVE_MARGIN = 0.1
NEGATIVE_MARGIN = 1.4


def circle_loss(
    distances: Tensor,
    positives: Tensor,
    negatives: Tensor,
    scale: float,
    positive_weights: Tensor | None = None,
) -> Tensor:
    """Mean over rows and columns with both a positive and a negative; zero if there are none.

    Args:
        distances: (N, M) distances of features.
        positives, negatives: (N, M) masks; entries in neither are ignored.
        scale: sharpness of the soft maximum.
        positive_weights: (N, M) weights of the positives, in [0, 1].
    """
    weight = (distances.detach() - POSITIVE_MARGIN).clamp(min=0) * positives
    if positive_weights is not None:
        weight = weight * positive_weights
    positive = scale * (distances - POSITIVE_MARGIN) * weight
    negative = (
        scale
        * (NEGATIVE_MARGIN - distances)
        * ((NEGATIVE_MARGIN - distances.detach()).clamp(min=0) * negatives)
    )
    losses = []
    for axis in (1, 0):
        used = positives.any(axis) & negatives.any(axis)
        per_line = F.softplus(positive.logsumexp(axis) + negative.logsumexp(axis)) / scale
        losses.append(per_line[used].mean() if bool(used.any()) else distances.sum() * 0)
    return torch.stack(losses).mean()
