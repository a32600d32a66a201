"""Coarse and fine losses against known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diff2i2p_core.losses.circle import circle_loss
from diff2i2p_core.losses.coarse import coarse_circle_loss, coarse_contrastive_loss
from diff2i2p_core.losses.fine import fine_circle_loss, soft_contrastive_loss
from diff2i2p_core.losses.settings import CoarseSettings
from diff2i2p_core.pairs.targets import NodeOverlaps


def test_circle_loss_by_hand() -> None:
    # One row and column: softplus(s(d+ - 0.1)^2 + s(1.4 - d-)^2) / s from both sides of each line.
    distances = torch.tensor([[0.5, 0.9], [1.2, 0.3]])
    positives = torch.eye(2, dtype=torch.bool)
    scale = 10.0

    def line(positive: float, negative: float) -> float:
        # Entries outside the mask add exp(0) to each sum.
        p = np.log(np.exp(scale * (positive - 0.1) ** 2) + 1)
        n = np.log(np.exp(scale * (1.4 - negative) ** 2) + 1)
        return float(np.log1p(np.exp(p + n)) / scale)

    rows = (line(0.5, 0.9) + line(0.3, 1.2)) / 2
    columns = (line(0.5, 1.2) + line(0.3, 0.9)) / 2
    assert circle_loss(distances, positives, ~positives, scale).item() == pytest.approx(
        (rows + columns) / 2, rel=1e-5
    )


def test_circle_loss_without_positives_is_zero_with_gradient() -> None:
    distances = torch.rand(3, 3, requires_grad=True)
    nothing = torch.zeros(3, 3, dtype=torch.bool)
    circle_loss(distances, nothing, ~nothing, 10.0).backward()
    assert distances.grad is not None and not distances.grad.any()


def _nodes() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, NodeOverlaps]:
    features = F.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    index = np.arange(6)
    overlaps = NodeOverlaps(index, index, np.full(6, 0.8, np.float32), np.full(6, 0.5, np.float32))
    return features, features.clone(), torch.ones(6, 6, dtype=torch.bool), overlaps


@pytest.mark.parametrize("kind", ["circle", "contrastive"])
def test_coarse_losses_prefer_the_truth(kind: str) -> None:
    image, points, used, overlaps = _nodes()

    def loss(p: torch.Tensor) -> float:
        if kind == "circle":
            return coarse_circle_loss(image, p, used, overlaps, CoarseSettings()).item()
        return coarse_contrastive_loss(image, p, used, overlaps, CoarseSettings()).item()

    assert loss(points) < 0.5 * loss(points.roll(1, 0))


def test_negatives_use_the_larger_overlap() -> None:
    image, points, used, overlaps = _nodes()
    # A pair of a small and a large overlap is a negative by the released rule alone (docs/method.md R18).
    one_sided = NodeOverlaps(
        np.append(overlaps.image_nodes, 0),
        np.append(overlaps.point_nodes, 1),
        np.append(overlaps.image_overlaps, np.float32(0.9)),
        np.append(overlaps.point_overlaps, np.float32(0.05)),
    )
    close = points.clone()
    close[1] = F.normalize(0.9 * points[0] + 0.1 * points[1], dim=0)
    corrected = coarse_circle_loss(image, close, used, one_sided, CoarseSettings())
    released = coarse_circle_loss(image, close, used, one_sided, CoarseSettings(negatives="smaller"))
    assert corrected < released


def test_fine_circle_loss_prefers_the_truth() -> None:
    features = F.normalize(torch.randn(20, 16, generator=torch.Generator().manual_seed(1)), dim=1)
    places = torch.rand(20, 3) * 3
    metres, pixels = torch.cdist(places, places), 100 * torch.cdist(places, places)
    arguments = (metres, pixels, (0.0375, 8.0), (0.1, 12.0))
    assert fine_circle_loss(features, features, *arguments) < fine_circle_loss(
        features, features.roll(1, 0), *arguments
    )


def test_soft_contrastive_loss_is_least_at_its_target() -> None:
    squared = torch.tensor([[0.0, 0.01, 1.0, torch.inf]])
    sigma, temperature = 0.1, 0.05
    target = torch.softmax(-0.5 * squared / sigma**2, dim=1)
    entropy = -(target * target.clamp(min=1e-30).log()).sum().item()
    # Keys along one axis whose similarity to the query realises the target exactly.
    similarity = temperature * target.clamp(min=1e-12).log()[0]
    similarity = similarity - similarity.max() + 1
    keys = torch.stack([similarity, torch.zeros(4)], dim=1)
    loss = soft_contrastive_loss(torch.tensor([[1.0, 0.0]]), keys, squared, sigma, temperature)
    assert loss.item() == pytest.approx(entropy, abs=1e-4)
