"""Soft depth splat: two passes over the points and one over the pixels; the backward pass only gathers.

Forward: an atomic minimum finds each pixel's front depth. Then three atomic sums per pixel of a footprint
collect sum w, sum w (z - front) and sum b. Backward: each point reads the gradients at its four pixels and
recomputes its weights. So nothing is stored per footprint, and the only sum that depends on the order of
threads is the one over points for the intrinsics, with one partial sum per block.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from diff2i2p_core.ops.kernels.projection import BLOCK, load_projected, scene_of

INFINITY = tl.constexpr(0x7F800000)
"""Bits of float32 infinity. Positive floats are ordered like their bits."""
ABSENT = tl.constexpr(1e-6)
"""A point does not contribute to a pixel in which its weight is smaller."""


class Splat(torch.autograd.Function):
    """Depth and coverage (B, H, W) of `ops.splat.splat_depth` for float32 points; requires `near` >= 0."""

    @staticmethod
    def forward(
        ctx: Any,
        points: Tensor,
        intrinsics: Tensor,
        size: tuple[int, int],
        gamma: float,
        near: float,
        far: float,
    ) -> tuple[Tensor, Tensor]:
        points = points.contiguous()
        scene, blocks = scene_of(points, intrinsics, size, near, far)
        batch, count = points.shape[:2]
        front = torch.full((batch, *size), INFINITY.value, dtype=torch.int32, device=points.device)
        total, excess, coverage = points.new_zeros(3, batch, *size)
        depth = torch.empty_like(total)
        with torch.cuda.device_of(points):
            if count and depth.numel():
                front_depth[blocks](*scene, front, BLOCK=BLOCK, enable_fp_fusion=False)
                accumulate[blocks](
                    *scene, front, total, excess, coverage, gamma, BLOCK=BLOCK, enable_fp_fusion=False
                )
            if depth.numel():
                finish[(triton.cdiv(depth.numel(), BLOCK),)](
                    front, total, excess, depth, depth.numel(), BLOCK=BLOCK, enable_fp_fusion=False
                )
        ctx.save_for_backward(points, intrinsics, front, total, excess)
        ctx.settings = (gamma, near, far)
        return depth, coverage

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_depth: Tensor, grad_coverage: Tensor) -> tuple[Tensor | None, ...]:
        points, intrinsics, front, total, excess = ctx.saved_tensors
        gamma, near, far = ctx.settings
        for_intrinsics: bool = ctx.needs_input_grad[1]
        batch, count = points.shape[:2]
        scene, blocks = scene_of(points, intrinsics, front.shape[1:], near, far)
        grad_points = torch.zeros_like(points)
        partial = points.new_zeros(batch, blocks[0], 9)
        if count and front.numel():
            gather_gradients[blocks](
                *scene, front, total, excess, grad_depth.contiguous(), grad_coverage.contiguous(), gamma,
                grad_points, partial, FOR_INTRINSICS=for_intrinsics, BLOCK=BLOCK, enable_fp_fusion=False,
            )  # fmt: skip
        grad_intrinsics = None
        if for_intrinsics:
            grad_intrinsics = partial.sum(1).reshape(batch, 3, 3).sum_to_size(intrinsics.shape)
        return grad_points, grad_intrinsics, None, None, None, None


@triton.jit
def load_points(points, cameras, camera_stride, count, height, width, near, far, BLOCK: tl.constexpr):
    """A block's points, their pixels and whether they reach the image. Others get harmless values."""
    x, y, z, u, v, seen = load_projected(points, cameras, camera_stride, count, near, far, False, BLOCK)
    seen = seen & (u > -1) & (u < width) & (v > -1) & (v < height)
    return x, y, z, tl.where(seen, u, 0.0), tl.where(seen, v, 0.0), seen


@triton.jit
def corner(u, v, seen, height, width, DU: tl.constexpr, DV: tl.constexpr):
    """The pixel at one corner of each footprint, whether it is in the image, and its weights in u and v."""
    column, row = tl.floor(u), tl.floor(v)
    right, down = u - column, v - row
    column, row = column.to(tl.int32) + DU, row.to(tl.int32) + DV
    inside = seen & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    cell = (tl.program_id(1).to(tl.int64) * height + row) * width + column
    return cell, inside, right if DU else 1 - right, down if DV else 1 - down


@triton.jit(do_not_specialize=["count"])
def front_depth(
    points, cameras, camera_stride, count, height, width, near, far, front, BLOCK: tl.constexpr
):  # fmt: skip
    _, _, z, u, v, seen = load_points(points, cameras, camera_stride, count, height, width, near, far, BLOCK)
    for i in tl.static_range(4):
        cell, inside, a, b = corner(u, v, seen, height, width, i % 2, i // 2)
        there = inside & (a * b >= ABSENT)
        tl.atomic_min(front + cell, z.to(tl.int32, bitcast=True), mask=there, sem="relaxed")


@triton.jit(do_not_specialize=["count"])
def accumulate(
    points, cameras, camera_stride, count, height, width, near, far,
    front, total, excess, coverage, gamma, BLOCK: tl.constexpr,
):  # fmt: skip
    _, _, z, u, v, seen = load_points(points, cameras, camera_stride, count, height, width, near, far, BLOCK)
    for i in tl.static_range(4):
        cell, inside, a, b = corner(u, v, seen, height, width, i % 2, i // 2)
        there = inside & (a * b >= ABSENT)
        nearest = tl.load(front + cell, mask=there, other=0).to(tl.float32, bitcast=True)
        behind = tl.where(there, z - nearest, 0.0)
        weight = a * b * tl.exp(-behind / gamma)
        tl.atomic_add(total + cell, weight, mask=there, sem="relaxed")
        tl.atomic_add(excess + cell, weight * behind, mask=there, sem="relaxed")
        tl.atomic_add(coverage + cell, a * b, mask=inside, sem="relaxed")


@triton.jit
def finish(front, total, excess, depth, cells, BLOCK: tl.constexpr):
    cell = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    nearest = tl.load(front + cell, mask=cell < cells, other=0).to(tl.float32, bitcast=True)
    weight = tl.load(total + cell, mask=cell < cells, other=0.0)
    behind = tl.load(excess + cell, mask=cell < cells, other=0.0)
    covered = weight > 0
    mean = tl.where(covered, nearest, 0.0) + tl.div_rn(behind, tl.where(covered, weight, 1.0))
    tl.store(depth + cell, mean, mask=cell < cells)


@triton.jit(do_not_specialize=["count"])
def gather_gradients(
    points, cameras, camera_stride, count, height, width, near, far,
    front, total, excess, grad_depth, grad_coverage, gamma, grad_points, partial,
    FOR_INTRINSICS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    x, y, z, u, v, seen = load_points(points, cameras, camera_stride, count, height, width, near, far, BLOCK)
    grad_u, grad_v, grad_z = tl.zeros_like(z), tl.zeros_like(z), tl.zeros_like(z)
    for i in tl.static_range(4):
        cell, inside, a, b = corner(u, v, seen, height, width, i % 2, i // 2)
        there = inside & (a * b >= ABSENT)
        nearest = tl.load(front + cell, mask=there, other=0).to(tl.float32, bitcast=True)
        weights = tl.load(total + cell, mask=there, other=1.0)
        mean = tl.load(excess + cell, mask=there, other=0.0) / weights
        towards = tl.load(grad_depth + cell, mask=there, other=0.0) / weights
        behind = tl.where(there, z - nearest, 0.0)
        fading = tl.exp(-behind / gamma)
        grad_weight = towards * (behind - mean)
        grad_z += a * b * fading * (towards - grad_weight / gamma)
        grad_share = grad_weight * fading + tl.load(grad_coverage + cell, mask=inside, other=0.0)
        grad_u += (grad_share if i % 2 else -grad_share) * b
        grad_v += (grad_share if i // 2 else -grad_share) * a
    sample = tl.program_id(1).to(tl.int64)
    camera = cameras + sample * camera_stride
    fx, skew, cx = tl.load(camera), tl.load(camera + 1), tl.load(camera + 2)
    fy, cy = tl.load(camera + 4), tl.load(camera + 5)
    over_u, over_v = grad_u / z, grad_v / z
    grad_z += over_u * (cx - u) + over_v * (cy - v)
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    gradient = grad_points + (sample * count + index) * 3
    tl.store(gradient, over_u * fx, mask=seen)
    tl.store(gradient + 1, over_u * skew + over_v * fy, mask=seen)
    tl.store(gradient + 2, grad_z, mask=seen)
    if FOR_INTRINSICS:
        entry = partial + (sample * tl.num_programs(0) + tl.program_id(0)) * 9
        tl.store(entry, tl.sum(over_u * x))
        tl.store(entry + 1, tl.sum(over_u * y))
        tl.store(entry + 2, tl.sum(grad_u))
        tl.store(entry + 4, tl.sum(over_v * y))
        tl.store(entry + 5, tl.sum(grad_v))
