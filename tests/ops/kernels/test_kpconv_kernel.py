"""The fused convolution equals the reference, forward and backward, and compiles without spilling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from diff2i2p_core.ops.kpconv import kernel_disposition, kpconv
from diff2i2p_core.ops.neighborhood import KERNEL_SIZE, Neighborhood

RADIUS, SIGMA = 0.25, 0.2


def example(
    inputs: int, outputs: int, device: str, queries: int = 10, supports: int = 14, width: int = 37
) -> tuple[Neighborhood, Tensor, Tensor, Tensor]:
    """A neighbourhood with padding anywhere in its rows, features, weights, and kernel points."""
    torch.manual_seed(0)
    where = torch.rand(supports, 3) * 0.4
    neighbors = torch.randint(0, supports, (queries, width))
    neighbors[torch.rand(queries, width) < 0.3] = supports
    neighbors[3] = supports
    neighbors[neighbors == 5] = supports
    hood = Neighborhood(torch.rand(queries, 3).mul(0.4).to(device), where.to(device), neighbors.to(device))
    features = torch.randn(supports, inputs).to(device).requires_grad_()
    weights = torch.randn(KERNEL_SIZE, inputs, outputs).to(device).requires_grad_()
    kernel_points = torch.tensor(kernel_disposition() * RADIUS, dtype=torch.float32, device=device)
    return hood, features, weights, kernel_points


def results(
    hood: Neighborhood, features: Tensor, weights: Tensor, kernel_points: Tensor, normalization: str
) -> tuple[Tensor, ...]:
    output = kpconv(features, hood, kernel_points, SIGMA, weights, normalization)
    grad = torch.sin(torch.arange(output.numel(), device=output.device)).view_as(output).to(output.dtype)
    return output.detach(), *torch.autograd.grad(output, [features, weights], grad)


@pytest.mark.parametrize("normalization", ["neighbors", "positive_sum"])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 24), (40, 16)])
def test_equals_the_reference(
    kernel_device: str, monkeypatch: pytest.MonkeyPatch, inputs: int, outputs: int, normalization: str
) -> None:
    case = (*example(inputs, outputs, kernel_device), normalization)
    found = results(*case)
    monkeypatch.setenv("DIFF2I2P_OPS", "torch")
    for mine, reference in zip(found, results(*case), strict=True):
        torch.testing.assert_close(mine, reference, rtol=2e-5, atol=2e-5)


def test_chunks_do_not_change_the_result(kernel_device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from diff2i2p_core.ops.kernels import kpconv as kernels

    case = (*example(8, 8, kernel_device), "neighbors")
    whole = results(*case)
    monkeypatch.setattr(kernels, "CHUNK_BYTES", 7 * 15 * 8 * 4)
    for mine, reference in zip(results(*case), whole, strict=True):
        torch.testing.assert_close(mine, reference)


def test_autocast_computes_in_half_precision(kernel_device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    half = torch.bfloat16 if kernel_device == "cuda" else torch.float16  # the interpreter has no bfloat16
    case = (*example(24, 16, kernel_device), "neighbors")
    with torch.autocast(kernel_device, half):
        found = results(*case)
    assert [x.dtype for x in found] == [half, torch.float32, torch.float32]
    monkeypatch.setenv("DIFF2I2P_OPS", "torch")
    for mine, reference in zip(found, results(*case), strict=True):
        assert (mine - reference).norm() < 0.01 * reference.norm()


def launches() -> None:
    """All launches of the op for the networks' widths."""
    for channels, half, normalization in (
        (1, False, "neighbors"),
        (64, False, "positive_sum"),
        (256, False, "neighbors"),
        (64, True, "positive_sum"),
    ):
        hood, features, weights, kernel_points = example(channels, channels, "cpu")
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            output = kpconv(features, hood, kernel_points, SIGMA, weights, normalization)
        output.sum().backward()


@pytest.mark.slow
def test_compiles_for_a_gpu(compile_launches: Callable[..., list[dict[str, Any]]]) -> None:
    kernels = compile_launches("test_kpconv_kernel:launches")
    assert {kernel["name"] for kernel in kernels} == {"_sum_neighbors"}
    for kernel in kernels:
        assert kernel["spilled"] == 0
        assert kernel["shared"] <= 48 * 1024
