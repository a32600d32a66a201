"""The soft splat's kernels against its plain reference: maps and gradients, to float32's rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from diff2i2p_core.ops.splat import SoftDepth, splat_depth

SIZE = (17, 22)


def scene(batch: int = 2, count: int = 600) -> tuple[Tensor, Tensor]:
    """Points (B, N, 3), several to a pixel at depths within a few gamma, some of them broken or out of view,
    and intrinsics (B, 3, 3) with skew."""
    generator = torch.Generator().manual_seed(0)
    u, v, noise = torch.rand(3, batch, count, generator=generator)
    z = 2 + 0.4 * torch.sin(4 * u) + 0.2 * noise
    points = torch.stack([(1.2 * u - 0.6) * z, (1.2 * v - 0.6) * z, z], dim=-1)
    points[:, 3] = torch.nan
    points[:, 4] = torch.tensor([0.0, torch.inf, 2.0])
    points[:, 5] = torch.tensor([0.0, 0.0, -2.0])
    points[:, 6] = torch.tensor([1e9, 0.0, 1.0])
    points[:, 7] = 0
    points[:, 8] = points[:, 9]
    k = torch.tensor([[20.0, 0.4, 10.3], [0.0, 19.0, 8.2], [0.0, 0.0, 1.0]]).repeat(batch, 1, 1)
    k[:, 0, 0] += torch.arange(batch)
    return points, k


def run(points: Tensor, k: Tensor, **options: float) -> tuple[SoftDepth, tuple[Tensor, ...]]:
    points, k = points.clone().requires_grad_(), k.clone().requires_grad_()
    soft = splat_depth(points, k, SIZE, **options, backend="torch")
    generator = torch.Generator().manual_seed(1)
    probe = torch.randn(2, *soft.depth.shape, generator=generator).to(soft.depth)
    value = (soft.depth * probe[0] + soft.coverage * probe[1]).sum()
    return SoftDepth(*(t.detach() for t in soft)), torch.autograd.grad(value, (points, k))


@pytest.mark.parametrize("gamma", [0.01, 0.3])
@pytest.mark.parametrize("own_cameras", [False, True])
def test_kernel_is_the_reference(
    kernel_device: str, monkeypatch: pytest.MonkeyPatch, gamma: float, own_cameras: bool
) -> None:
    """Closer than 1e-5 of the largest value; atomics add in any order."""
    points, k = scene()
    k = k if own_cameras else k[0]
    ours, our_gradients = run(points.to(kernel_device), k.to(kernel_device), gamma=gamma, far=2.5)
    monkeypatch.setenv("DIFF2I2P_OPS", "torch")
    theirs, their_gradients = run(points.to(kernel_device), k.to(kernel_device), gamma=gamma, far=2.5)
    exact, exact_gradients = run(points.double(), k.double(), gamma=gamma, far=2.5)
    assert (theirs.depth > 0).float().mean() > 0.5
    assert torch.equal(ours.depth > 0, theirs.depth > 0)
    for mine, yours, truth in zip(
        (*ours, *our_gradients), (*theirs, *their_gradients), (*exact, *exact_gradients), strict=True
    ):
        assert mine.shape == yours.shape
        largest = float(truth.abs().max())
        assert largest > 0.1
        tolerance = 1e-5 * largest + 2 * float((yours.cpu() - truth).abs().max())
        assert float((mine.cpu() - truth).abs().max()) <= tolerance


def test_broken_and_hidden_points_get_no_gradient(kernel_device: str) -> None:
    points, k = scene()
    _, (gradient, _) = run(points.to(kernel_device), k.to(kernel_device))
    assert gradient.isfinite().all()
    assert (gradient[:, 3:8] == 0).all()
    assert ((gradient != 0).all(-1)).float().mean() > 0.5


def test_no_points_give_an_empty_map(kernel_device: str) -> None:
    points = torch.zeros(2, 0, 3, device=kernel_device, requires_grad=True)
    k = torch.eye(3, device=kernel_device, requires_grad=True)
    soft = splat_depth(points, k, SIZE)
    (soft.depth + soft.coverage).sum().backward()
    assert soft.depth.shape == (2, *SIZE) and (soft.depth == 0).all() and (soft.coverage == 0).all()
    assert k.grad is not None and (k.grad == 0).all()


def launches() -> None:
    points, k = scene()
    for leaf in (k, k.clone().requires_grad_()):
        splat_depth(points.clone().requires_grad_(), leaf, SIZE).depth.sum().backward()


@pytest.mark.slow
def test_kernels_compile_for_a_gpu(compile_launches: Callable[..., list[dict[str, Any]]]) -> None:
    kernels = compile_launches("test_splat_kernel:launches")
    assert {k["name"] for k in kernels} == {"front_depth", "accumulate", "finish", "gather_gradients"}
    for kernel in kernels:
        assert kernel["spilled"] == 0
        assert kernel["registers"] <= 96
