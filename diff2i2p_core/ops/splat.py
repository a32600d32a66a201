"""Soft depth rendering of a point cloud, differentiable in all six degrees of freedom of the pose.

Each point is splatted onto the pixels around its projection. Let b_ip be the weight of point i's footprint at
pixel p (bilinear: b = (1 - |du|) (1 - |dv|)). Then

    depth(p) = sum_i w_ip z_i / sum_i w_ip,    w_ip = b_ip exp(-z_i / gamma).

Moving the cloud sideways shifts weight between the points that share a pixel. So t_x, t_y and every entry of
the rotation get a gradient wherever depths vary; a pixel with a single point gives them none. Choose a
resolution at which points share pixels (`scaled_intrinsics`), and densify what remains empty.
"""

from __future__ import annotations

import importlib.util
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diff2i2p_core.errors import InputError
from diff2i2p_core.ops.backend import use_triton
from diff2i2p_core.ops.z_buffer import project

BACKENDS = ("auto", "torch", "pytorch3d")
POINTS_PER_PIXEL = 8
"""Number of nearest points kept per pixel by pytorch3d's rasterizer."""


class SoftDepth(NamedTuple):
    depth: Tensor
    """(B, H, W) metres; 0 where there is no footprint."""
    coverage: Tensor
    """(B, H, W) sum of the footprints' weights, also differentiable."""


def splat_depth(
    points: Tensor,
    intrinsics: Tensor,
    size: tuple[int, int],
    *,
    gamma: float = 0.05,
    near: float = 0.05,
    far: float = float("inf"),
    backend: str = "auto",
) -> SoftDepth:
    """Points (B, N, 3) in the camera frame, intrinsics (B, 3, 3) or (3, 3), size (H, W) in pixels.

    `gamma` in metres: at the same pixel, a point this far behind another has 1/e of its weight. Points that
    are not finite or not in near < z < far are left out. `backend`: `torch`; `pytorch3d`, its point
    rasterizer, whose footprint is a disc with b = 1 - d^2 for d < 1 pixel; or `auto`, which uses pytorch3d if
    it is installed and the GPU does not run our kernels.
    """
    if backend not in BACKENDS:
        raise InputError(f"render backend '{backend}' is unknown; use one of {', '.join(BACKENDS)}")
    installed = importlib.util.find_spec("pytorch3d") is not None
    if backend == "pytorch3d" and not installed:
        raise InputError("render backend 'pytorch3d' is not installed; install it, or use backend 'torch'")
    kernels = points.dtype == intrinsics.dtype == torch.float32 and use_triton(points)
    if backend == "pytorch3d" or (backend == "auto" and installed and points.is_cuda and not kernels):
        return _pytorch3d_splat(points, intrinsics, size, gamma, near, far)
    near = max(near, 0.0)
    if kernels:
        from diff2i2p_core.ops.kernels.splat import Splat

        return SoftDepth(*Splat.apply(points, intrinsics, size, gamma, near, far))  # type: ignore[no-untyped-call]
    return _bilinear_splat(points, intrinsics, size, gamma, near, far)


def scaled_intrinsics(intrinsics: Tensor, scale_u: float, scale_v: float) -> Tensor:
    """Intrinsics (..., 3, 3) for the image resampled by these factors (pixel centres at integers)."""
    scale = intrinsics.new_tensor([[scale_u], [scale_v], [1.0]])
    shift = intrinsics.new_zeros(3, 3)
    shift[0, 2], shift[1, 2] = (scale_u - 1) / 2, (scale_v - 1) / 2
    return intrinsics * scale + shift


def _usable(points: Tensor, near: float, far: float) -> Tensor:
    z = points[..., 2]
    return points.isfinite().all(-1) & (z > near) & (z < far)


def _bilinear_splat(
    points: Tensor, intrinsics: Tensor, size: tuple[int, int], gamma: float, near: float, far: float
) -> SoftDepth:
    height, width = size
    batch, count = points.shape[:2]
    points = torch.where(_usable(points, near, far)[..., None], points, points.new_tensor([0.0, 0.0, -1.0]))
    pixels, z = project(points, intrinsics)
    with torch.no_grad():
        reach = (pixels > -1) & (pixels < pixels.new_tensor([width, height]))
        seen = (reach.all(-1) & (z > 0)).reshape(-1).nonzero()[:, 0]
    u, v = pixels.reshape(-1, 2).index_select(0, seen).unbind(-1)
    z = z.reshape(-1).index_select(0, seen)
    with torch.no_grad():
        column, row = u.floor(), v.floor()
        first = torch.div(seen, max(count, 1), rounding_mode="floor") * height
        cells, inside = [], []
        for dv in (0, 1):
            for du in (0, 1):
                c, r = column.long() + du, row.long() + dv
                inside.append((c >= 0) & (c < width) & (r >= 0) & (r < height))
                cells.append((first + r.clamp(0, height - 1)) * width + c.clamp(0, width - 1))
        cell, weightless = torch.cat(cells), ~torch.cat(inside)
    right, down = u - column, v - row
    footprint = torch.cat([(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down])
    footprint = footprint.masked_fill(weightless, 0)
    z = z.repeat(4)
    with torch.no_grad():
        # exp(-z / gamma) would underflow. Shifting by each pixel's nearest depth cancels in the ratio.
        front = torch.full((batch * height * width,), torch.inf, dtype=z.dtype, device=z.device)
        absent = footprint < 1e-6
        front.scatter_reduce_(0, cell, z.masked_fill(absent, torch.inf), "amin")
        front.masked_fill_(front.isinf(), 0)
        own_front = front.index_select(0, cell)
    behind = z - own_front
    weight = (footprint * torch.exp(-behind / gamma)).masked_fill(absent, 0)
    total, excess, coverage = (
        torch.zeros_like(front).index_add(0, cell, x) for x in (weight, weight * behind, footprint)
    )
    depth = front + excess / total.clamp(min=1e-12)  # all of them are 0 where there is no footprint
    return SoftDepth(depth.reshape(batch, height, width), coverage.reshape(batch, height, width))


def _pytorch3d_splat(
    points: Tensor, intrinsics: Tensor, size: tuple[int, int], gamma: float, near: float, far: float
) -> SoftDepth:
    from pytorch3d.renderer.points.rasterize_points import rasterize_points
    from pytorch3d.structures import Pointclouds

    height, width = size
    shorter = min(height, width)
    # The rasterizer drops z < 0. Its axes point left and up, and the shorter side spans [-1, 1].
    points = torch.where(_usable(points, near, far)[..., None], points, points.new_tensor([0.0, 0.0, -1.0]))
    pixels, z = project(points, intrinsics)
    x = (width - 2 * pixels[..., 0] - 1) / shorter
    y = (height - 2 * pixels[..., 1] - 1) / shorter
    clouds: Any = Pointclouds(points=list(torch.stack([x, y, z], dim=-1)))
    pixel = 2.0 / shorter
    index, z_sorted, distance2 = rasterize_points(
        clouds, image_size=(height, width), radius=pixel, points_per_pixel=POINTS_PER_PIXEL
    )
    hit = index >= 0
    footprint = torch.where(hit, 1 - distance2 / pixel**2, 0)
    front = z_sorted[..., :1].detach()
    weight = footprint * torch.exp(-torch.where(hit, z_sorted - front, 0) / gamma)
    total = weight.sum(-1)
    covered = total > 1e-6
    depth = (weight * z_sorted).sum(-1) / torch.where(covered, total, 1)
    return SoftDepth(torch.where(covered, depth, 0), footprint.sum(-1))
