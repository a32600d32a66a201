from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from diff2i2p_core.ops import winograd
from diff2i2p_core.ops.group_norm import group_norm_rows_
from diff2i2p_core.ops.winograd import winograd_conv3x3


@pytest.mark.parametrize("size", [(16, 20), (13, 17), (4, 9), (1, 1)])
@pytest.mark.parametrize("block", [2**20, 1])  # whole images, and a row of tiles at a time
def test_equals_the_direct_convolution(
    size: tuple[int, int], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "BLOCK", block)
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 24, *size), torch.randn(8, 24, 3, 3) / 15, torch.randn(8)
    for given in (x, x.contiguous(memory_format=torch.channels_last)):
        expected = F.conv2d(given.double(), weight.double(), bias.double(), padding=1)
        found = winograd_conv3x3(given, weight, bias)
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)
        assert found.is_contiguous(memory_format=torch.channels_last)
    without = winograd_conv3x3(x, weight)
    torch.testing.assert_close(without + bias.view(-1, 1, 1), winograd_conv3x3(x, weight, bias))


@pytest.mark.parametrize("count", [1, 7, 50_000])
@pytest.mark.parametrize("slope", [None, 0.2])
def test_group_norm_of_rows_is_exact_far_from_zero(count: int, slope: float | None) -> None:
    torch.manual_seed(0)
    rows = torch.randn(count, 32) + torch.linspace(-30, 30, 32)
    weight, bias = torch.rand(32), torch.randn(32)
    expected = F.group_norm(rows.double().t()[None], 4, weight.double(), bias.double(), 1e-5)[0].t()
    if slope is not None:
        expected = F.leaky_relu(expected, slope)
    assert group_norm_rows_(rows, 4, weight, bias, 1e-5, slope) is rows
    torch.testing.assert_close(rows.double(), expected, rtol=0, atol=2e-5)
