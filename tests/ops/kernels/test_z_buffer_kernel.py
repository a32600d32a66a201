"""The z-buffer's kernels against its plain reference: the same map, the same points, the same gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from diff2i2p_core.ops.z_buffer import z_buffer

SIZE = (23, 31)


def cameras(batch: int) -> Tensor:
    """Intrinsics (B, 3, 3), one unlike the other, with skew."""
    k = torch.tensor([[40.0, 0.7, 15.3], [0.0, 38.0, 11.2], [0.0, 0.0, 1.0]])
    return k * torch.linspace(1, 1.2, batch)[:, None, None].expand(batch, 3, 1).clone().index_fill(
        1, torch.tensor([1, 2]), 1.0
    )


def broken_cloud(batch: int = 2, count: int = 900) -> Tensor:
    """Points (B, N, 3) of which many fall outside, several share a pixel, some a depth, some are broken."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(batch, count, 3, generator=generator) * torch.tensor([4.0, 3.0, 5.0])
    points = points - torch.tensor([2.0, 1.5, 1.0])
    points[:, 5] = torch.nan
    points[:, 6] = torch.tensor([torch.inf, 0, 1])
    points[:, 7] = 0
    points[:, 9] = points[:, 8] = torch.tensor([0.1, 0.1, 0.2])
    points[:, 10] = torch.tensor([1e30, -1e30, 1.0])
    points[:, 11] = torch.tensor([0.1, 0.1, torch.inf])
    return points


def run(points: Tensor, intrinsics: Tensor, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    leaf = points.detach().clone().requires_grad_()
    depth, winner = z_buffer(leaf, intrinsics, SIZE, **options)
    weights = torch.arange(depth.numel(), dtype=depth.dtype, device=depth.device).reshape(depth.shape)
    (gradient,) = torch.autograd.grad((depth * weights).sum(), leaf)
    return depth.detach(), winner, gradient


@pytest.mark.parametrize("options", [{}, {"released": True, "far": 3.0}, {"near": 0.5}])
@pytest.mark.parametrize("own_cameras", [False, True])
def test_kernel_is_the_reference(
    kernel_device: str, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], own_cameras: bool
) -> None:
    points = broken_cloud().to(kernel_device)
    k = cameras(2).to(kernel_device)
    k = k if own_cameras else k[0]
    by_kernel = run(points, k, **options)
    monkeypatch.setenv("DIFF2I2P_OPS", "torch")
    expected = run(points, k, **options)
    assert (expected[1] >= 0).sum() > 80
    for ours, theirs in zip(by_kernel, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


def test_pixels_halfway_between_two_round_to_the_even_one(
    kernel_device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exact halves, whichever the arithmetic: x / 1 + 0 with x = n + 0.5."""
    x = torch.arange(-2, 32) + 0.5
    points = torch.stack([x, x[:1].expand_as(x) + 3, torch.ones_like(x)], dim=-1)[None].to(kernel_device)
    k = torch.eye(3, device=kernel_device)
    ours = z_buffer(points, k, SIZE)
    monkeypatch.setenv("DIFF2I2P_OPS", "torch")
    theirs = z_buffer(points, k, SIZE)
    assert torch.equal(ours[1], theirs[1])
    assert int((ours[1] >= 0).sum()) == 16


def test_nothing_to_render(kernel_device: str) -> None:
    points = torch.zeros(2, 0, 3, device=kernel_device, requires_grad=True)
    depth, winner = z_buffer(points, torch.eye(3, device=kernel_device), SIZE)
    depth.sum().backward()
    assert (depth == 0).all() and (winner == -1).all()
    assert points.grad is not None and points.grad.shape == (2, 0, 3)


def launches() -> None:
    for released in (False, True):
        leaf = broken_cloud().requires_grad_()
        z_buffer(leaf, cameras(2), SIZE, released=released)[0].sum().backward()


@pytest.mark.slow
def test_kernels_compile_for_a_gpu(compile_launches: Callable[..., list[dict[str, Any]]]) -> None:
    kernels = compile_launches("test_z_buffer_kernel:launches")
    assert {k["name"] for k in kernels} == {"scatter_nearest", "unpack", "scatter_back"}
    for kernel in kernels:
        assert kernel["spilled"] == 0
        assert kernel["registers"] <= 64
