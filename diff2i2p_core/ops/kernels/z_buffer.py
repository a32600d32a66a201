"""Z-buffer: one atomic minimum on (depth, index) per point, then one pass over the pixels.

Positive depths are ordered like their bits. So a 64-bit word with the depth in the high bits and the index in
the low bits has the reference's order: by depth, then by index.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from diff2i2p_core.ops.kernels.projection import BLOCK, load_projected, scene_of

EMPTY = tl.constexpr(0x7FFFFFFFFFFFFFFF)


class ZBuffer(torch.autograd.Function):
    """`ops.z_buffer.z_buffer` for float32 points. `near` must not be negative."""

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
        scene, blocks = scene_of(points, intrinsics, size, near, far)
        batch, count = points.shape[:2]
        nearest = torch.full((batch, *size), EMPTY.value, dtype=torch.long, device=points.device)
        depth, winner = torch.empty_like(nearest, dtype=points.dtype), torch.empty_like(nearest)
        with torch.cuda.device_of(points):
            if nearest.numel() and count:
                scatter_nearest[blocks](
                    *scene, nearest, RELEASED=released, BLOCK=BLOCK, enable_fp_fusion=False
                )
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
def round_half_to_even(x):
    below = tl.floor(x)
    rest = x - below
    odd = below - 2 * tl.floor(below * 0.5)
    return tl.where((rest > 0.5) | ((rest == 0.5) & (odd == 1)), below + 1, below)


@triton.jit(do_not_specialize=["count"])
def scatter_nearest(
    points, cameras, camera_stride, count, height, width, near, far, nearest,
    RELEASED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    sample = tl.program_id(1).to(tl.int64)
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    _, _, z, u, v, seen = load_projected(points, cameras, camera_stride, count, near, far, RELEASED, BLOCK)
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


@triton.jit(do_not_specialize=["count"])
def scatter_back(grad_depth, winner, grad_points, count, pixels, BLOCK: tl.constexpr):
    """Needs no atomics: a point is in one pixel only, so it wins at most one."""
    sample = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    cell = sample * pixels + pixel
    index = tl.load(winner + cell, mask=pixel < pixels, other=-1)
    gradient = tl.load(grad_depth + cell, mask=pixel < pixels, other=0.0)
    tl.store(grad_points + (sample * count + index) * 3 + 2, gradient, mask=index >= 0)
