"""The kinds of optimizers, and what their weight decay does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diff2i2p_core.engine.experiment import OptimizerConfig
from diff2i2p_core.engine.optimization import make_optimizer, set_learning_rate


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("adamw", 2 - 0.1 * 0.5 * 2),  # decoupled: lr * decay * weight
        ("sgd", 2 - 0.1 * 0.5 * 2),  # an L2 term in the gradient
        ("adam", 2 - 0.1),  # the same, and the first step of Adam has the length of the rate
    ],
)
def test_weight_decay_without_a_gradient(kind: str, expected: float) -> None:
    weight = nn.Parameter(torch.tensor([2.0]))
    settings = OptimizerConfig.model_validate({"kind": kind, "lr": 0.1, "weight_decay": 0.5})
    optimizer = make_optimizer([weight], settings)
    weight.grad = torch.zeros(1)
    optimizer.step()
    assert weight.item() == pytest.approx(expected, rel=1e-5)


def test_a_backbone_has_its_own_rate() -> None:
    slow, fast = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    settings = OptimizerConfig(kind="sgd", lr=1, momentum=0, weight_decay=0, backbone_lr=0.1)
    optimizer = make_optimizer([slow, fast], settings, [slow])
    set_learning_rate(optimizer, 0.5)
    for weight in (slow, fast):
        weight.grad = torch.ones(1)
    optimizer.step()
    assert (slow.item(), fast.item()) == pytest.approx((0.95, 0.5))
