"""The image and the depth of a view from its sums per pixel: means, empty pixels filled, background blurred.

Does what OpenCV does for `ops.render_view`, with the same arithmetic. An empty pixel takes the nearest pixel
that has points, by the distance of paths with steps (1, 0), (1, 1) and (2, 1), in fixed point. The nearest
one in a row is the nearest on the left or on the right; scans along each row find them. Then each tile of
pixels searches the rows above and below until no row can be nearer: one or two rows where points are dense.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from diff2i2p_core.ops.kernels.tiles import at, grid_of, put, tile
from diff2i2p_core.ops.kernels.z_buffer import round_half_to_even

ROWS, COLUMNS = 4, 32
STRAIGHT, DIAGONAL, KNIGHT = tl.constexpr(65536), tl.constexpr(91750), tl.constexpr(143976)
"""OpenCV's lengths of the three steps, with 16 bits after the point."""
NONE = tl.constexpr(0x7FFFFFFFFFFFFFFF)
"""Larger than every key."""
LAST = tl.constexpr(0x7FFFFFFF)


def image_and_depth(sums: Tensor, reach: float, side: int) -> tuple[Tensor, Tensor]:
    """Image (H, W, C) uint8 and depth (H, W) float32 in metres from sums (H, W, C + 2).

    A point fills pixels up to `reach` pixels away at 1 m, at least one. Pixels without depth continue the
    colours of the nearest surface, blurred over `side` x `side` pixels.
    """
    height, width, channels = sums.shape[0], sums.shape[1], sums.shape[2] - 2
    depth, inverse = sums.new_empty(2, height, width)
    left, right = torch.empty(2, height, width, dtype=torch.int32, device=sums.device)
    means, filled, image = torch.empty(3, height, width * channels, dtype=torch.uint8, device=sums.device)
    in_rows = torch.empty_like(means, dtype=torch.int32)
    pixels, values = (grid_of(each[None], ROWS, COLUMNS) for each in (depth, means))
    size = height, width
    tiles = {"ROWS": ROWS, "COLUMNS": COLUMNS, "enable_fp_fusion": False}
    of = {"CHANNELS": channels}
    with torch.cuda.device_of(sums):
        mean_rows[(height,)](
            sums, inverse, means, left, right, width, **of, BLOCK=triton.next_power_of_2(width)
        )
        fill[pixels](left, right, inverse, means, depth, filled, *size, reach, **of, **tiles)
        median[values](filled, image, *size, **of, **tiles)
        sum_rows[values](image, in_rows, *size, side, **of, **tiles)
        background[values](in_rows, depth, image, *size, side, 1 / side**2, **of, **tiles)
    return image.view(height, width, channels), depth


@triton.jit
def larger(a, b):
    return tl.maximum(a, b)


@triton.jit
def mean_rows(
    sums, inverse, means, left, right, width, CHANNELS: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """The means in one row of pixels; for each pixel, the nearest columns on both sides that have points."""
    first = tl.program_id(0).to(tl.int64) * width
    column = tl.arange(0, BLOCK)
    inside = column < width
    total = sums + (first + column) * (CHANNELS + 2)
    count = tl.load(total + CHANNELS + 1, mask=inside, other=0.0)
    divisor = tl.maximum(count, 1.0)
    tl.store(
        inverse + first + column, tl.div_rn(tl.load(total, mask=inside, other=0.0), divisor), mask=inside
    )
    for k in tl.static_range(CHANNELS):
        mean = round_half_to_even(tl.div_rn(tl.load(total + 1 + k, mask=inside, other=0.0), divisor))
        tl.store(means + (first + column) * CHANNELS + k, mean.to(tl.int32).to(tl.uint8), mask=inside)
    nearest = tl.associative_scan(tl.where(count > 0, column, -1), 0, larger)
    tl.store(left + first + column, nearest, mask=inside)
    mirrored = width - 1 - column
    count = tl.load(sums + (first + mirrored) * (CHANNELS + 2) + CHANNELS + 1, mask=inside, other=0.0)
    nearest = tl.associative_scan(tl.where(count > 0, column, -1), 0, larger)
    tl.store(right + first + mirrored, tl.where(nearest < 0, -1, width - 1 - nearest), mask=inside)


@triton.jit
def key_of(row, column, other_row, other_column, width):
    """Ordered by distance between pixels; among equal ones, those above or on the left come first, from the
    top left, then the others, from the bottom right, which is nearly OpenCV's order."""
    dx, dy = tl.abs(column - other_column), tl.abs(row - other_row)
    far, near = tl.maximum(dx, dy), tl.minimum(dx, dy)
    shallow = (far - 2 * near) * STRAIGHT + near * KNIGHT
    steep = (far - near) * KNIGHT + (2 * near - far) * DIAGONAL
    distance = tl.where(far >= 2 * near, shallow, steep)
    pixel = other_row * width + other_column
    before = (other_row < row) | ((other_row == row) & (other_column <= column))
    return (distance.to(tl.int64) << 32) | tl.where(before, pixel, LAST - pixel).to(tl.int64)


@triton.jit
def fill(
    left, right, inverse, means, depth, filled, height, width, reach,
    CHANNELS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Every pixel takes the shades of the nearest one with points, and its depth if it is within reach."""
    _, row, column = tile(height, width, ROWS, COLUMNS)
    inside = (row < height) & (column < width)
    best = tl.where(inside, NONE, 0)
    dy = 0
    # A pixel dy rows away may be equally near and come first.
    while (dy < height) & (tl.max(tl.max((best >> 32).to(tl.int32), 1), 0) >= dy * STRAIGHT):
        for i in tl.static_range(4):
            other_row = row + dy if i % 2 else row - dy
            nearest = at(right if i // 2 else left, other_row, column, height, width, -1)
            key = key_of(row, column, other_row, nearest, width)
            best = tl.minimum(best, tl.where(nearest >= 0, key, NONE))
        dy += 1
    known = inside & (best != NONE)
    rank = (best & LAST).to(tl.int32)
    pixel = tl.where(rank < height * width, rank, LAST - rank)
    value = tl.load(inverse + pixel, mask=known, other=0.0)
    distance = (best >> 32).to(tl.float32) * (1.0 / STRAIGHT)
    shown = known & (distance <= tl.maximum(reach * value, 1.0))
    put(depth, row, column, height, width, tl.where(shown, tl.div_rn(1.0, tl.where(shown, value, 1.0)), 0.0))
    for k in tl.static_range(CHANNELS):
        shade = tl.load(means + pixel * CHANNELS + k, mask=known, other=0)
        tl.store(filled + (row * width + column) * CHANNELS + k, shade, mask=inside)


@triton.jit
def sort3(a, b, c):
    low, high = tl.minimum(a, b), tl.maximum(a, b)
    return tl.minimum(low, c), tl.maximum(low, tl.minimum(high, c)), tl.maximum(high, c)


@triton.jit
def sorted_column(image, row, column, height, width, CHANNELS: tl.constexpr):
    """Three sorted values from a column of the image, which is padded with copies of its border. Here and
    below, a column is that of a value: those of all channels are side by side."""
    above, below = tl.maximum(row - 1, 0), tl.minimum(row + 1, height - 1)
    column = tl.where(column < 0, column + CHANNELS, column)
    column = tl.where(column < width * CHANNELS, column, column - CHANNELS)
    return sort3(
        at(image, above, column, height, width * CHANNELS, 0).to(tl.int32),
        at(image, row, column, height, width * CHANNELS, 0).to(tl.int32),
        at(image, below, column, height, width * CHANNELS, 0).to(tl.int32),
    )


@triton.jit
def median(
    image, result, height, width, CHANNELS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    """The 3 x 3 median, which removes single points of a surface behind. With sorted columns, it is that of
    the largest minimum, the median of medians and the smallest maximum."""
    _, row, column = tile(height, width * CHANNELS, ROWS, COLUMNS)
    a0, a1, a2 = sorted_column(image, row, column - CHANNELS, height, width, CHANNELS)
    b0, b1, b2 = sorted_column(image, row, column, height, width, CHANNELS)
    c0, c1, c2 = sorted_column(image, row, column + CHANNELS, height, width, CHANNELS)
    low = tl.maximum(tl.maximum(a0, b0), c0)
    _, middle, _ = sort3(a1, b1, c1)
    high = tl.minimum(tl.minimum(a2, b2), c2)
    _, value, _ = sort3(low, middle, high)
    put(result, row, column, height, width * CHANNELS, value.to(tl.uint8))


@triton.jit
def reflected(index, size):
    """Indices outside of an axis, reflected at the centres of its first and last pixels."""
    period = tl.maximum(2 * (size - 1), 1)
    index = tl.abs(index) % period
    return tl.minimum(index, tl.where(size > 1, period - index, 0))


@triton.jit
def sum_rows(
    image, sums, height, width, side,
    CHANNELS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Sums over `side` columns, the first pass of a box filter."""
    _, row, column = tile(height, width * CHANNELS, ROWS, COLUMNS)
    total = tl.zeros((ROWS, COLUMNS), tl.int32)
    for i in range(side):
        other = reflected(column // CHANNELS + i - side // 2, width) * CHANNELS + column % CHANNELS
        total += at(image, row, other, height, width * CHANNELS, 0).to(tl.int32)
    put(sums, row, column, height, width * CHANNELS, total)


@triton.jit
def background(
    in_rows, depth, image, height, width, side, scale,
    CHANNELS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The second pass, written to the pixels without depth."""
    _, row, column = tile(height, width * CHANNELS, ROWS, COLUMNS)
    total = tl.zeros((ROWS, COLUMNS), tl.int32)
    for i in range(side):
        other = reflected(row + i - side // 2, height)
        total += at(in_rows, other, column, height, width * CHANNELS, 0)
    mean = round_half_to_even(total.to(tl.float32) * scale).to(tl.int32).to(tl.uint8)
    empty = at(depth, row, column // CHANNELS, height, width, 1.0) == 0
    cell = row * (width * CHANNELS) + column
    inside = (row < height) & (column < width * CHANNELS)
    tl.store(image + cell, mean, mask=inside & empty)
