"""The point branch with kernels gives the features and gradients that it gives without."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from diff2i2p_core.models.config import PointConfig
from diff2i2p_core.models.point_backbone import PointBackbone
from diff2i2p_core.ops.pyramid import build_pyramid


def encoded(model: PointBackbone, points: Tensor, limits: tuple[int, ...]) -> list[Tensor]:
    """Fine and coarse features of two packed clouds, then the gradients of all weights."""
    half = len(points) // 2
    pyramid = build_pyramid(points, 0.1, limits, [half, len(points) - half])
    outputs = model(pyramid, torch.ones(len(points), 1, device=points.device))
    loss = sum(output.square().mean() for output in outputs)
    assert isinstance(loss, Tensor)
    return [*outputs, *torch.autograd.grad(loss, list(model.parameters()))]


def test_point_branch_is_the_same(kernel_device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    limits = (10, 6)
    config = PointConfig(voxel=0.1, levels=2, width=8, blocks=1, neighbor_limits=limits)
    model = PointBackbone(config, 1, 8).to(kernel_device)
    points = torch.rand(30, 3, device=kernel_device) * torch.tensor([0.5, 0.5, 0.02], device=kernel_device)
    with_kernels = encoded(model, points, limits)
    monkeypatch.setenv("DIFF2I2P_OPS", "torch")
    for mine, reference in zip(with_kernels, encoded(model, points, limits), strict=True):
        assert (mine - reference).norm() <= 1e-4 * reference.norm() + 1e-6
