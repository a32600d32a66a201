"""Densification: window filters on 64-bit keys, then a blur that carries gradients.

The high bits of a pixel's key are its depth's bits, counted down from infinity; the low bits are its index.
So a larger key is nearer or, at the same depth, has a larger index, which is the order of the reference's
ranks; 0 is empty. Keys need no sorting, and the winning key identifies the sparse pixel that its depth came
from.
There is one launch per filter: the windows overlap, so their loads come from the caches, and the six launches
read and write each key once.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from diff2i2p_core.ops.kernels.tiles import at, grid_of, put, tile

ROWS, COLUMNS = 4, 32
INFINITY = tl.constexpr(0x7F800000)
"""Bits of float32 infinity. Positive floats are ordered like their bits."""
FULL = tl.constexpr(0x7FFFFFFFFFFFFFFF)
"""Larger than every key."""


def choose(depth: Tensor, dilation: int) -> tuple[Tensor, Tensor]:
    """Index (B, H, W) of each pixel's sparse pixel within its image, and its depth; -1 and 0 if none."""
    depth = depth.contiguous()
    source = torch.empty(depth.shape, dtype=torch.int32, device=depth.device)
    selected = torch.empty_like(depth)
    if depth.numel():
        size, grid = depth.shape[1:], grid_of(depth, ROWS, COLUMNS)
        tiles = {"ROWS": ROWS, "COLUMNS": COLUMNS, "enable_fp_fusion": False}
        keys = torch.empty(depth.shape, dtype=torch.long, device=depth.device)
        other = torch.empty_like(keys)
        with torch.cuda.device_of(depth):
            dilate_depth[grid](depth, keys, *size, RADIUS=dilation, **tiles)
            largest[grid](keys, other, *size, **tiles)
            smallest[grid](other, keys, *size, **tiles)
            fill[grid](keys, other, *size, **tiles)
            median[grid](other, source, selected, *size, **tiles)
    return source, selected


class Densify(torch.autograd.Function):
    """`ops.densify.densify` for float32 depths. `taps` are half of the blur's, the middle one first."""

    @staticmethod
    def forward(ctx: Any, depth: Tensor, dilation: int, taps: tuple[float, float, float]) -> Tensor:
        source, selected = choose(depth, dilation)
        dense, scale = torch.empty_like(selected), torch.empty_like(selected)
        if dense.numel():
            with torch.cuda.device_of(depth):
                blur[grid_of(dense, ROWS, COLUMNS)](
                    selected, dense, scale, *dense.shape[1:], *taps,
                    ROWS=ROWS, COLUMNS=COLUMNS, enable_fp_fusion=False,
                )  # fmt: skip
        ctx.save_for_backward(source, scale)
        ctx.taps = taps
        return dense

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_dense: Tensor) -> tuple[Tensor | None, ...]:
        source, scale = ctx.saved_tensors
        grad_depth = torch.zeros_like(scale)
        if scale.numel():
            blur_back[grid_of(scale, ROWS, COLUMNS)](
                grad_dense.contiguous(), source, scale, grad_depth, *scale.shape[1:],
                *ctx.taps, ROWS=ROWS, COLUMNS=COLUMNS, enable_fp_fusion=False,
            )  # fmt: skip
        return grad_depth, None, None


@triton.jit
def depth_of(key):
    """The depth of a key; 0 for the empty key."""
    bits = INFINITY + 1 - (key >> 32).to(tl.int32)
    return tl.where(key == 0, 0, bits).to(tl.float32, bitcast=True)


@triton.jit
def dilate_depth(depth, keys, height, width, RADIUS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The largest key within an L1 distance of RADIUS."""
    start, row, column = tile(height, width, ROWS, COLUMNS)
    best = tl.zeros((ROWS, COLUMNS), tl.int64)
    for dv in tl.static_range(-RADIUS, RADIUS + 1):
        for du in tl.static_range(-RADIUS, RADIUS + 1):
            if (dv if dv > 0 else -dv) + (du if du > 0 else -du) <= RADIUS:
                z = at(depth + start, row + dv, column + du, height, width, 0.0)
                nearness = INFINITY + 1 - z.to(tl.int32, bitcast=True).to(tl.int64)
                key = (nearness << 32) | ((row + dv) * width + column + du)
                best = tl.maximum(best, tl.where(z > 0, key, 0))
    put(keys + start, row, column, height, width, best)


@triton.jit
def largest_of(keys, row, column, height, width, SIDE: tl.constexpr):
    best = tl.zeros_like(row + column).to(tl.int64)
    for dv in tl.static_range(-(SIDE // 2), SIDE // 2 + 1):
        for du in tl.static_range(-(SIDE // 2), SIDE // 2 + 1):
            best = tl.maximum(best, at(keys, row + dv, column + du, height, width, 0))
    return best


@triton.jit
def largest(keys, result, height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    start, row, column = tile(height, width, ROWS, COLUMNS)
    put(result + start, row, column, height, width, largest_of(keys + start, row, column, height, width, 5))


@triton.jit
def smallest(keys, result, height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    start, row, column = tile(height, width, ROWS, COLUMNS)
    best = tl.full((ROWS, COLUMNS), FULL, tl.int64)
    for dv in tl.static_range(-2, 3):
        for du in tl.static_range(-2, 3):
            best = tl.minimum(best, at(keys + start, row + dv, column + du, height, width, FULL))
    put(result + start, row, column, height, width, best)


@triton.jit
def fill(keys, result, height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Empty pixels take the largest key of their 7x7 window. The others read outside the image."""
    start, row, column = tile(height, width, ROWS, COLUMNS)
    key = at(keys + start, row, column, height, width, FULL)
    best = largest_of(keys + start, tl.where(key == 0, row, -8), column, height, width, 7)
    put(result + start, row, column, height, width, tl.maximum(key, best))


@triton.jit
def sort5(a, b, c, d, e):
    """Sort with nine comparisons."""
    a, d = tl.minimum(a, d), tl.maximum(a, d)
    b, e = tl.minimum(b, e), tl.maximum(b, e)
    a, c = tl.minimum(a, c), tl.maximum(a, c)
    b, d = tl.minimum(b, d), tl.maximum(b, d)
    a, b = tl.minimum(a, b), tl.maximum(a, b)
    c, e = tl.minimum(c, e), tl.maximum(c, e)
    b, c = tl.minimum(b, c), tl.maximum(b, c)
    d, e = tl.minimum(d, e), tl.maximum(d, e)
    c, d = tl.minimum(c, d), tl.maximum(c, d)
    return a, b, c, d, e


@triton.jit
def sorted_column(keys, row, column, height, width):
    """Five sorted keys from a column of the image, which is padded with copies of its border."""
    column = tl.minimum(tl.maximum(column, 0), width - 1)
    last = height - 1
    return sort5(
        at(keys, tl.maximum(row - 2, 0), column, height, width, 0),
        at(keys, tl.maximum(row - 1, 0), column, height, width, 0),
        at(keys, tl.minimum(row, last), column, height, width, 0),
        at(keys, tl.minimum(row + 1, last), column, height, width, 0),
        at(keys, tl.minimum(row + 2, last), column, height, width, 0),
    )


@triton.jit
def median(keys, source, selected, height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The 5x5 median's source and depth.

    If the columns are sorted, then the rows, both stay sorted. The median of all 25 is then the median of
    three: the largest on the antidiagonal before the middle one, the median of the middle one, and the
    smallest on the one after it.
    """
    start, row, column = tile(height, width, ROWS, COLUMNS)
    a0, a1, a2, a3, a4 = sorted_column(keys + start, row, column - 2, height, width)
    b0, b1, b2, b3, b4 = sorted_column(keys + start, row, column - 1, height, width)
    c0, c1, c2, c3, c4 = sorted_column(keys + start, row, column, height, width)
    d0, d1, d2, d3, d4 = sorted_column(keys + start, row, column + 1, height, width)
    e0, e1, e2, e3, e4 = sorted_column(keys + start, row, column + 2, height, width)
    a0, b0, c0, d0, e0 = sort5(a0, b0, c0, d0, e0)
    a1, b1, c1, d1, e1 = sort5(a1, b1, c1, d1, e1)
    a2, b2, c2, d2, e2 = sort5(a2, b2, c2, d2, e2)
    a3, b3, c3, d3, e3 = sort5(a3, b3, c3, d3, e3)
    a4, b4, c4, d4, e4 = sort5(a4, b4, c4, d4, e4)
    before = tl.maximum(tl.maximum(d0, c1), tl.maximum(b2, a3))
    after = tl.minimum(tl.minimum(e1, d2), tl.minimum(c3, b4))
    _, _, middle, _, _ = sort5(e0, d1, c2, b3, a4)
    low, high = tl.minimum(before, after), tl.maximum(before, after)
    key = tl.minimum(tl.maximum(low, middle), high)
    put(source + start, row, column, height, width, tl.where(key == 0, -1, key & 0xFFFFFFFF).to(tl.int32))
    put(selected + start, row, column, height, width, depth_of(key))


@triton.jit
def tap(OFFSET: tl.constexpr, centre, next_to_it, outermost):
    if OFFSET == 0:
        return centre
    elif OFFSET == 1 or OFFSET == -1:
        return next_to_it
    else:
        return outermost


@triton.jit
def blur(
    selected, dense, scale, height, width, centre, next_to_it, outermost,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """5x5 Gaussian over the filled pixels. `scale` is one over the sum of weights in each window."""
    start, row, column = tile(height, width, ROWS, COLUMNS)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    weight = tl.zeros((ROWS, COLUMNS), tl.float32)
    for du in tl.static_range(-2, 3):
        total_of_column = tl.zeros((ROWS, COLUMNS), tl.float32)
        weight_of_column = tl.zeros((ROWS, COLUMNS), tl.float32)
        for dv in tl.static_range(-2, 3):
            z = at(selected + start, row + dv, column + du, height, width, 0.0)
            share_of_row = tap(dv, centre, next_to_it, outermost)
            total_of_column += share_of_row * z
            weight_of_column += tl.where(z > 0, share_of_row, 0.0)
        share_of_column = tap(du, centre, next_to_it, outermost)
        total += share_of_column * total_of_column
        weight += share_of_column * weight_of_column
    filled = at(selected + start, row, column, height, width, 0.0) > 0
    factor = tl.where(filled, tl.div_rn(1.0, tl.maximum(weight, 1e-6)), 0.0)
    put(dense + start, row, column, height, width, total * factor)
    put(scale + start, row, column, height, width, factor)


@triton.jit
def blur_back(
    grad_dense, source, scale, grad_depth, height, width, centre, next_to_it, outermost,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The blur is its own transpose. Then the gradient goes to the pixel that the depth came from."""
    start, row, column = tile(height, width, ROWS, COLUMNS)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for du in tl.static_range(-2, 3):
        of_column = tl.zeros((ROWS, COLUMNS), tl.float32)
        for dv in tl.static_range(-2, 3):
            gradient = at(grad_dense + start, row + dv, column + du, height, width, 0.0)
            factor = at(scale + start, row + dv, column + du, height, width, 0.0)
            of_column += tap(dv, centre, next_to_it, outermost) * gradient * factor
        total += tap(du, centre, next_to_it, outermost) * of_column
    index = at(source + start, row, column, height, width, -1)
    tl.atomic_add(grad_depth + start + index, total, mask=index >= 0, sem="relaxed")
