"""Confidence of matches: a small network adds to their similarity what the pose says about them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

HIDDEN = 64


class MatchConfidence(nn.Module):
    """Scores of matches, for the weights of PnP in training and its order of trial at test.

    The cosine similarity of the fine features, plus a function of both. It is trained by the pose loss alone,
    through the weights of differentiable PnP. So it learns not only how similar two features are, but how far
    a match of such features can be trusted.
    """

    def __init__(self, fine_dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3 * fine_dim, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
        # An untrained network changes no score.
        for parameter in self.net[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, image_fine: Tensor, point_fine: Tensor) -> Tensor:
        """Scores (C,) from features (C, D), (C, D) of unit length."""
        product = image_fine * point_fine
        inputs = torch.cat([product, image_fine, point_fine], dim=1)
        scores: Tensor = product.sum(1) + self.net(inputs)[:, 0]
        return scores
