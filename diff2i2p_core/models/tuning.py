"""Deformable Correspondence Tuning: a small network moves each matched point (docs/method.md R15)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CorrespondenceTuning(nn.Module):
    """Predicts offsets of matched points from both features, the point and (with depth) the pixel's point."""

    def __init__(self, fine_dim: int, points: int) -> None:
        """`points`: 0 for features alone, 1 with the matched point, 2 also with the pixel's."""
        super().__init__()
        self.points = points
        self.net = nn.Sequential(nn.Linear(2 * fine_dim + 3 * points, 128), nn.ReLU(), nn.Linear(128, 3))
        # An untrained network moves nothing, so it does not spoil good matches at first.
        for parameter in self.net[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, image_fine: Tensor, point_fine: Tensor, points: Tensor, pixel_points: Tensor | None = None
    ) -> Tensor:
        """Unscaled offsets (C, 3) from features (C, D), (C, D), points (C, 3) and pixel points (C, 3)."""
        if self.points == 2 and pixel_points is None:
            raise ValueError("this model tunes correspondences with the query's depth")
        places = [part for part in (points, pixel_points)[: self.points] if part is not None]
        offsets: Tensor = self.net(torch.cat([image_fine, point_fine, *places], dim=1))
        return offsets
