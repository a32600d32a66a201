"""Benchmarks of parts of the training step: differentiable PnP, depth rendering, densification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diff2i2p_core.benchmarks.measure import Case
from diff2i2p_core.geometry.differentiable_pnp import differentiable_pnp
from diff2i2p_core.ops.densify import densify
from diff2i2p_core.ops.splat import scaled_intrinsics, splat_depth
from diff2i2p_core.ops.z_buffer import z_buffer

SIZE = (480, 640)
POINTS = 21_000
Work = Callable[[], Any]


def cases() -> list[Case]:
    return [
        Case("PnP, 500 correspondences, forward + backward", lambda d: _pnp(d, 500), 10, 590),
        Case("PnP, 2000 correspondences, forward + backward", lambda d: _pnp(d, 2000), 15, 21_500),
        Case("PnP, batch of 8 x 500, start given, forward + backward", lambda d: _pnp(d, 500, 8)),
        Case("splat, 21k points to 640x480, forward + backward", lambda d: splat_work(d, 1.0), 30, 1800),
        Case("splat, 21k points to 160x120, forward + backward", lambda d: splat_work(d, 0.25)),
        Case("z-buffer, 21k points to 640x480", z_buffer_work),
        Case("densify 640x480, forward", lambda d: densify_work(d, backward=False), 20, 400),
        Case("densify 640x480, forward + backward", lambda d: densify_work(d, backward=True)),
    ]


def _intrinsics(device: str) -> Tensor:
    return torch.tensor([[585.0, 0, 320], [0, 585, 240], [0, 0, 1]], device=device)


def _room(count: int, device: str, seed: int = 0) -> Tensor:
    """Points (1, N, 3) in the camera frame on surfaces between 1.5 and 3.5 m, all in view."""
    generator = torch.Generator().manual_seed(seed)
    u, v, noise = torch.rand(3, count, generator=generator)
    u, v = u * 640, v * 480
    z = 2.5 + torch.sin(u / 90) * torch.cos(v / 70) + 0.01 * noise
    points = torch.stack([(u - 320) / 585 * z, (v - 240) / 585 * z, z], dim=-1)
    return points[None].to(device)


def _pnp(device: str, count: int, batch: int = 1) -> Work:
    """One pixel of noise, 30 % outliers. A single sample finds its start by RANSAC."""
    generator = torch.Generator().manual_seed(1)
    k = _intrinsics("cpu")
    points = torch.cat([_room(count, "cpu", seed) for seed in range(batch)])
    projected = points @ k.T
    pixels = projected[..., :2] / projected[..., 2:] + torch.randn(batch, count, 2, generator=generator)
    wrong = 3 * count // 10
    pixels[:, :wrong] = torch.rand(batch, wrong, 2, generator=generator) * torch.tensor([640.0, 480.0])
    pixels, points, k = (t.to(device).requires_grad_() for t in (pixels, points, k))
    start = None if batch == 1 else torch.eye(4, device=device).repeat(batch, 1, 1)

    def work() -> None:
        pose = differentiable_pnp(pixels, points, k, start=start).camera_from_cloud
        torch.autograd.grad(pose[:, :3].sum(), (pixels, points, k))

    return work


def splat_work(device: str, scale: float) -> Work:
    points = _room(POINTS, device)
    k = scaled_intrinsics(_intrinsics(device), scale, scale)
    size = int(SIZE[0] * scale), int(SIZE[1] * scale)
    pose = torch.eye(4, device=device, requires_grad=True)

    def work() -> None:
        depth = splat_depth(points @ pose[:3, :3].T + pose[:3, 3], k, size).depth
        torch.autograd.grad(depth.sum(), pose)

    return work


def z_buffer_work(device: str) -> Work:
    points, k = _room(POINTS, device), _intrinsics(device)
    return lambda: z_buffer(points, k, SIZE)


def densify_work(device: str, *, backward: bool) -> Work:
    sparse, _ = z_buffer(_room(POINTS, device), _intrinsics(device), SIZE)
    if not backward:
        return lambda: densify(sparse)
    leaf = sparse.clone().requires_grad_()
    return lambda: torch.autograd.grad(densify(leaf).sum(), leaf)
