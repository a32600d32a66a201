"""Densification's kernels against its plain reference: the same choices, maps and gradients to rounding."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from diff2i2p_core.ops.densify import densify


@pytest.fixture(autouse=True)
def few_large_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter takes a tenth of a second a kernel and tile, however large."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        kernels = pytest.importorskip("diff2i2p_core.ops.kernels.densify")
        monkeypatch.setattr(kernels, "ROWS", 16)


def sparse_depth(batch: int, height: int, width: int, share: float, seed: int = 0) -> Tensor:
    """Depths of a slope, quantized so that many are equal, at random pixels."""
    generator = torch.Generator().manual_seed(seed)
    keep, noise = torch.rand(2, batch, height, width, generator=generator)
    slope = 2 + torch.arange(width) / width + 0.3 * noise
    return torch.where(keep < share, (slope * 50).round() / 50, 0.0)


def run(depth: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    leaf = depth.clone().requires_grad_()
    dense = densify(leaf, **options)
    probe = torch.rand(dense.shape, generator=torch.Generator().manual_seed(1)).to(dense)
    return dense.detach(), torch.autograd.grad((dense * probe).sum(), leaf)[0]


@pytest.mark.parametrize(
    ("shape", "share", "options"),
    [
        ((1, 19, 25), 0.1, {}),
        ((1, 9, 37), 0.02, {"dilation": 1, "blur_sigma": 0.4}),
        ((2, 3, 4), 0.5, {"dilation": 0, "blur_sigma": 1.7}),
    ],
)
def test_kernel_is_the_reference(
    kernel_device: str,
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, int, int],
    share: float,
    options: dict[str, Any],
) -> None:
    """Only the order of the blur's sums differs: closer than 2e-6 of a value."""
    depth = sparse_depth(*shape, share=share).to(kernel_device)
    dense, gradient = run(depth, **options)
    monkeypatch.setenv("DIFF2I2P_OPS", "torch")
    expected, expected_gradient = run(depth, **options)
    assert (expected > 0).any()
    assert torch.equal(dense == 0, expected == 0)
    torch.testing.assert_close(dense, expected, rtol=2e-6, atol=0)
    assert torch.equal(gradient == 0, expected_gradient == 0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-6)


def test_every_median(kernel_device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full map is chosen from by closing and median alone; a blur of width zero leaves the choices bare."""
    depth = sparse_depth(1, 16, 32, share=2.0, seed=3).to(kernel_device)
    dense = densify(depth, dilation=0, blur_sigma=1e-2)
    monkeypatch.setenv("DIFF2I2P_OPS", "torch")
    assert torch.equal(dense, densify(depth, dilation=0, blur_sigma=1e-2))


def test_an_empty_map_stays_empty(kernel_device: str) -> None:
    dense, gradient = run(torch.zeros(1, 8, 20, device=kernel_device))
    assert (dense == 0).all() and (gradient == 0).all()


def launches() -> None:
    for dilation in (0, 3):
        densify(sparse_depth(1, 20, 40, 0.1).requires_grad_(), dilation=dilation).sum().backward()


@pytest.mark.slow
def test_kernels_compile_for_a_gpu(compile_launches: Callable[..., list[dict[str, Any]]]) -> None:
    kernels = compile_launches("test_densify_kernel:launches")
    names = {"dilate_depth", "largest", "smallest", "fill", "median", "blur", "blur_back"}
    assert {k["name"] for k in kernels} == names
    for kernel in kernels:
        assert kernel["spilled"] == 0
        assert kernel["registers"] <= 128
