"""The points of a cloud that a camera sees, summed per pixel: two passes over the points.

The first pass finds the front depth of each cell of the coarse z-buffers with atomic minima; positive floats
are ordered like their bits. Three passes over the cells close gaps of one cell (dilation, erosion) and find
the largest visible depth. The second pass over the points adds the visible ones to their pixels. Both passes
project, because reading a point again costs no more than storing where it is. Nothing is sorted, and the CPU
does not read how many points are visible, so nothing waits for the GPU.

Minima, counts and sums of shades (integers below 2^24) do not depend on the order of threads. Sums of inverse
depth do, by float32's rounding.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.submaps import MAX_LEVEL, OVERLAP
from diff2i2p_core.ops.kernels.projection import load_block
from diff2i2p_core.ops.kernels.tiles import at
from diff2i2p_core.typing import Array

BLOCK = 256
LEVELS = tl.constexpr(MAX_LEVEL + 1)
"""Coarse z-buffers. A cell of level n has 2^n x 2^n cells of level 0."""
INFINITY = tl.constexpr(0x7F800000)
"""Bits of float32 infinity."""
FAR = tl.constexpr(1e30)
"""Metres. Instead of infinity, of which no differences can be taken."""


def pixel_sums(
    points: Tensor,
    shades: Tensor,
    pose: Array,
    camera: Camera,
    spacing: float,
    min_depth: float,
    max_depth: float,
    buffer_step: int,
) -> Tensor:
    """Sums (H, W, C + 2) float32 of inverse depth, shades and ones over the points in each pixel.

    For points (N, 3) float32 and shades (N, C) uint8; otherwise as `ops.device_cloud.seen_there`. Depths are
    positive.
    """
    points, shades, (count, channels) = points.contiguous(), shades.contiguous(), shades.shape
    sums = points.new_zeros(camera.height, camera.width, channels + 2)
    if not count:
        return sums
    rows = pose[:3] * [[camera.fx], [camera.fy], [1]]
    view = torch.tensor(rows.tolist(), dtype=torch.float32).to(points.device, non_blocking=True)
    size = -(-camera.height // buffer_step), -(-camera.width // buffer_step)
    front = torch.full((LEVELS.value, *size), INFINITY.value, dtype=torch.int32, device=points.device)
    nearest, limit = torch.empty_like(front), points.new_empty(size)
    scene = (
        points, count, view, camera.cx + 0.5, camera.cy + 0.5, camera.width, camera.height,
        float(max(min_depth, 0)), float(max_depth), buffer_step,
    )  # fmt: skip
    footprint = 0.5 * spacing * max(camera.fx, camera.fy) / buffer_step
    blocks, cells = (triton.cdiv(count, BLOCK),), triton.cdiv(limit.numel(), BLOCK)
    exact = {"BLOCK": BLOCK, "enable_fp_fusion": False}  # rounded as on the CPU
    with torch.cuda.device_of(points):
        front_depths[blocks](*scene, front, *size, footprint, 2**OVERLAP * footprint, **exact)
        of_neighbours[(cells, LEVELS.value)](front, nearest, *size, NEAREST=True, **exact)
        of_neighbours[(cells, LEVELS.value)](nearest, front, *size, NEAREST=False, **exact)
        limits[(cells,)](front, limit, *size, float(spacing), **exact)
        add_visible[blocks](*scene, limit, size[1], shades, sums, CHANNELS=channels, **exact)
    return sums


@triton.jit
def row_of(view, ROW: tl.constexpr, x, y, z):
    """A coordinate of points after the projection (3, 4)."""
    row = view + 4 * ROW
    return tl.load(row) * x + tl.load(row + 1) * y + tl.load(row + 2) * z + tl.load(row + 3)


@triton.jit
def load_seen(points, count, view, cx, cy, width, height, near, far, BLOCK: tl.constexpr):
    """A block's indices, columns, rows, depths, and which are in the image. Others get harmless values."""
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x, y, z = load_block(points, index, count)
    depth = row_of(view, 2, x, y, z)
    seen = (depth > near) & (depth < far)
    depth = tl.where(seen, depth, 1.0)
    u = tl.div_rn(row_of(view, 0, x, y, z), depth) + cx
    v = tl.div_rn(row_of(view, 1, x, y, z), depth) + cy
    seen = seen & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    return index, tl.where(seen, u, 0.0).to(tl.int32), tl.where(seen, v, 0.0).to(tl.int32), depth, seen


@triton.jit(do_not_specialize=["count"])
def front_depths(
    points, count, view, cx, cy, width, height, near, far, step,
    front, coarse_height, coarse_width, footprint, overlapping, BLOCK: tl.constexpr,
):  # fmt: skip
    """At the depths of level n, a footprint is 2^(n-1) to 2^n cells wide; the levels overlap a little."""
    _, column, row, z, seen = load_seen(points, count, view, cx, cy, width, height, near, far, BLOCK)
    column, row = column // step, row // step
    for n in tl.static_range(LEVELS):
        across = tl.cdiv(coarse_width, 1 << n)
        cell = n * coarse_height * coarse_width + (row >> n) * across + (column >> n)
        member = seen
        if n > 0:
            member = member & (z < overlapping * 2.0 ** (1 - n))
        if n < LEVELS - 1:
            member = member & (z >= footprint * 2.0**-n)
        tl.atomic_min(front + cell, z.to(tl.int32, bitcast=True), mask=member, sem="relaxed")


@triton.jit
def of_neighbours(depths, result, height, width, NEAREST: tl.constexpr, BLOCK: tl.constexpr):
    """The nearest or else the farthest of the 3 x 3 depths around each cell, as bits. Axis 1 of the grid is
    the level."""
    level = tl.program_id(1)
    rows, columns = tl.cdiv(height, 1 << level), tl.cdiv(width, 1 << level)
    start = level * height * width
    cell = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    outside: tl.constexpr = INFINITY if NEAREST else 0
    best = tl.full((BLOCK,), outside, tl.int32)
    for dv in tl.static_range(-1, 2):
        for du in tl.static_range(-1, 2):
            row, column = cell // columns + dv, cell % columns + du
            depth = at(depths + start, row, column, rows, columns, outside)
            best = tl.minimum(best, depth) if NEAREST else tl.maximum(best, depth)
    tl.store(result + start + cell, best, mask=cell < rows * columns)


@triton.jit
def depth_at(depths, row, column, height, width):
    """The depths of these bits, inverted twice, as the CPU does it; FAR where there is no surface."""
    bits = at(depths, row, column, height, width, INFINITY)
    depth = tl.where(bits < INFINITY, bits.to(tl.float32, bitcast=True), 1.0)
    return tl.where(bits < INFINITY, tl.div_rn(1.0, tl.div_rn(1.0, depth)), FAR)


@triton.jit
def smaller_step(front, before, after):
    """The smaller change of depth to either side; 0 if there is no surface on either."""
    step = tl.minimum(tl.abs(front - before), tl.abs(front - after))
    return tl.where(step < FAR / 2, step, 0.0)


@triton.jit
def limits(closed, limit, height, width, spacing, BLOCK: tl.constexpr):
    """`submaps.level_limit` of all levels, and the smallest of them in each cell."""
    cell = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    best = tl.full((BLOCK,), FAR, tl.float32)
    for n in range(LEVELS):
        rows, columns = tl.cdiv(height, 1 << n), tl.cdiv(width, 1 << n)
        level = closed + n * height * width
        row, column = (cell // width) >> n, (cell % width) >> n
        front = depth_at(level, row, column, rows, columns)
        up = depth_at(level, row - 1, column, rows, columns)
        down = depth_at(level, row + 1, column, rows, columns)
        left = depth_at(level, row, column - 1, rows, columns)
        right = depth_at(level, row, column + 1, rows, columns)
        slope = tl.minimum(smaller_step(front, up, down) + smaller_step(front, left, right), 0.25)
        best = tl.minimum(best, front * 1.03 + spacing + slope)
    tl.store(limit + cell, best, mask=cell < height * width)


@triton.jit(do_not_specialize=["count"])
def add_visible(
    points, count, view, cx, cy, width, height, near, far, step,
    limit, coarse_width, shades, sums, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    index, column, row, z, seen = load_seen(points, count, view, cx, cy, width, height, near, far, BLOCK)
    cell = row // step * coarse_width + column // step
    seen = seen & (z <= tl.load(limit + cell, mask=seen, other=0.0))
    total = sums + (row * width + column).to(tl.int64) * (CHANNELS + 2)
    tl.atomic_add(total, tl.div_rn(1.0, z), mask=seen, sem="relaxed")
    for k in tl.static_range(CHANNELS):
        shade = tl.load(shades + index * CHANNELS + k, mask=seen, other=0).to(tl.float32)
        tl.atomic_add(total + 1 + k, shade, mask=seen, sem="relaxed")
    tl.atomic_add(total + 1 + CHANNELS, tl.full((BLOCK,), 1.0, tl.float32), mask=seen, sem="relaxed")
