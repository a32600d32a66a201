"""Fine losses on pixel and point features: the circle loss of the paper, and a dense contrastive one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diff2i2p_core.losses.circle import circle_loss

SCALE = 24.0


def fine_circle_loss(
    pixel_features: Tensor,
    point_features: Tensor,
    distances: Tensor,
    pixel_distances: Tensor,
    positive: tuple[float, float],
    negative: tuple[float, float],
) -> Tensor:
    """Circle loss on the squared feature distances of C sampled correspondences (METHOD 3).

    Args:
        pixel_features, point_features: (C, D) L2-normalised.
        distances: (C, C) metres between the pixels' true points and the points.
        pixel_distances: (C, C) pixels between the pixels and the projected points.
        positive: below both (metres, pixels) an entry is positive.
        negative: above either it is negative.
    """
    squared = (2 - 2 * pixel_features @ point_features.t()).clamp(min=0)
    positives = (distances < positive[0]) & (pixel_distances < positive[1])
    negatives = (distances > negative[0]) | (pixel_distances > negative[1])
    return circle_loss(squared, positives, negatives, SCALE)


def soft_contrastive_loss(
    queries: Tensor, keys: Tensor, squared_distances: Tensor, sigma: float, temperature: float
) -> Tensor:
    """Cross-entropy of Q queries' similarities to all K keys against a Gaussian around the truth.

    The circle loss sees only the sampled correspondences as negatives; here every other point (pixel) of
    the pair is one, which is what matching meets. A soft target lets neighbours share the peak.

    Args:
        queries, keys: (Q, D), (K, D) L2-normalised features.
        squared_distances: (Q, K) squared distance from each query's true place to each key; inf to ignore.
        sigma: deviation of the target, in the unit of the distances.
        temperature: of the similarities.
    """
    logits = (queries @ keys.t()) / temperature
    target = torch.softmax(-0.5 * squared_distances / sigma**2, dim=1)
    return F.cross_entropy(logits, target)
