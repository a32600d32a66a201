"""Z-buffer: one atomic minimum a point on (depth, index), one pass over the pixels.

Depths above zero order like their bits, so the 64-bit word of depth above index orders as the reference
does: by depth, then by index. Products and sums are rounded one by one, as torch rounds them (no fused
multiply-add, IEEE division): the same points fall into the same pixels.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 128
EMPTY = tl.constexpr(0x7FFFFFFFFFFFFFFF)


class ZBuffer(torch.autograd.Function):
    """`ops.z_buffer.z_buffer` of float32 points; `near` is not negative."""

    @staticmethod
    def forward(
        ctx: Any,
        points: Tensor,
        intrinsics: Tensor,
        size: tuple[int, int],
        near: float,
        far: float,
        released: bool,
    ) -> tuple[Tensor, Tensor]:
        points = points.contiguous()
        intrinsics = intrinsics.contiguous().expand(len(points), 3, 3)
        batch, count = points.shape[:2]
        height, width = size
        nearest = torch.full((batch, height, width), EMPTY.value, dtype=torch.long, device=points.device)
        depth, winner = torch.empty_like(nearest, dtype=points.dtype), torch.empty_like(nearest)
        with torch.cuda.device_of(points):
            if nearest.numel() and count:
                scatter_nearest[(triton.cdiv(count, BLOCK), batch)](
                    points, intrinsics, nearest, intrinsics.stride(0), count, height, width, near, far,
                    RELEASED=released, BLOCK=BLOCK, enable_fp_fusion=False,
                )  # fmt: skip
            if nearest.numel():
                unpack[(triton.cdiv(nearest.numel(), BLOCK),)](
                    nearest, depth, winner, nearest.numel(), BLOCK=BLOCK, enable_fp_fusion=False
                )
        ctx.save_for_backward(winner)
        ctx.count = count
        ctx.mark_non_differentiable(winner)
        return depth, winner

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_depth: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        (winner,) = ctx.saved_tensors
        batch, height, width = winner.shape
        grad_points = grad_depth.new_zeros(batch, ctx.count, 3)
        pixels = height * width
        if winner.numel():
            scatter_back[(triton.cdiv(pixels, BLOCK), batch)](
                grad_depth.contiguous(), winner, grad_points, grad_points.shape[1], pixels,
                BLOCK=BLOCK, enable_fp_fusion=False,
            )  # fmt: skip
        return grad_points, None, None, None, None, None


@triton.jit
def project(intrinsics, x, y, z, depth):
    """Pixels of camera-frame coordinates; `depth` is what they are divided by."""
    fx, skew, cx = tl.load(intrinsics), tl.load(intrinsics + 1), tl.load(intrinsics + 2)
    fy, cy = tl.load(intrinsics + 4), tl.load(intrinsics + 5)
    u = tl.div_rn(fx * x + skew * y + cx * z, depth)
    v = tl.div_rn(fy * y + cy * z, depth)
    return u, v


@triton.jit
def finite(x):
    return tl.abs(x) < float("inf")


@triton.jit
def round_half_to_even(x):
    below = tl.floor(x)
    rest = x - below
    odd = below - 2 * tl.floor(below * 0.5)
    return tl.where((rest > 0.5) | ((rest == 0.5) & (odd == 1)), below + 1, below)


@triton.jit
def scatter_nearest(
    points, intrinsics, nearest, intrinsics_stride, count, height, width, near, far,
    RELEASED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    sample = tl.program_id(1).to(tl.int64)
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    point = points + (sample * count + index) * 3
    x = tl.load(point, mask=index < count, other=float("nan"))
    y = tl.load(point + 1, mask=index < count, other=float("nan"))
    z = tl.load(point + 2, mask=index < count, other=float("nan"))
    seen = (z > near) & (z < far) & finite(x) & finite(y)
    x, y, z = tl.where(seen, x, 0.0), tl.where(seen, y, 0.0), tl.where(seen, z, 1.0)
    u, v = project(intrinsics + sample * intrinsics_stride, x, y, z, z + 1e-5 if RELEASED else z)
    if RELEASED:
        column, row = tl.floor(u), tl.floor(v)
    else:
        column, row = round_half_to_even(u), round_half_to_even(v)
    seen = seen & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    column, row = tl.where(seen, column, 0).to(tl.int64), tl.where(seen, row, 0).to(tl.int64)
    key = (z.to(tl.int32, bitcast=True).to(tl.int64) << 32) | index
    tl.atomic_min(nearest + (sample * height + row) * width + column, key, mask=seen, sem="relaxed")


@triton.jit
def unpack(nearest, depth, winner, total, BLOCK: tl.constexpr):
    cell = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    key = tl.load(nearest + cell, mask=cell < total, other=EMPTY)
    empty = key == EMPTY
    z = (key >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    tl.store(depth + cell, tl.where(empty, 0.0, z), mask=cell < total)
    tl.store(winner + cell, tl.where(empty, -1, key & 0xFFFFFFFF), mask=cell < total)


@triton.jit
def scatter_back(grad_depth, winner, grad_points, count, pixels, BLOCK: tl.constexpr):
    """No atomics: a point falls into one pixel, so it wins one at most."""
    sample = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    cell = sample * pixels + pixel
    index = tl.load(winner + cell, mask=pixel < pixels, other=-1)
    gradient = tl.load(grad_depth + cell, mask=pixel < pixels, other=0.0)
    tl.store(grad_points + (sample * count + index) * 3 + 2, gradient, mask=index >= 0)
