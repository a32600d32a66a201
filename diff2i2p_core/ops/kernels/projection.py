"""Shared by the kernels that project points into images: common arguments, and the projection.

Products and sums are rounded separately, as in torch (no fused multiply-add, IEEE division), so the same
points are in the same pixels.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

BLOCK = 128


def scene_of(
    points: Tensor, intrinsics: Tensor, size: tuple[int, int], near: float, far: float
) -> tuple[tuple[Any, ...], tuple[int, int]]:
    """Kernel arguments for points (B, N, 3) and their cameras, and the launch grid over blocks of points.

    `points` is contiguous; `intrinsics` (B, 3, 3) or (3, 3).
    """
    batch, count = points.shape[:2]
    cameras = intrinsics.contiguous().expand(batch, 3, 3)
    return (points, cameras, cameras.stride(0), count, *size, near, far), (triton.cdiv(count, BLOCK), batch)


@triton.jit
def load_block(points, index, count):
    """Points at indices of a cloud. NaN, which no comparison accepts, for indices behind its end."""
    point = points + index.to(tl.int64) * 3
    x = tl.load(point, mask=index < count, other=float("nan"))
    y = tl.load(point + 1, mask=index < count, other=float("nan"))
    z = tl.load(point + 2, mask=index < count, other=float("nan"))
    return x, y, z


@triton.jit
def load_projected(
    points, cameras, camera_stride, count, near, far, RELEASED: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """A block's points, their pixels and whether they have one. Points without get harmless values."""
    sample = tl.program_id(1).to(tl.int64)
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x, y, z = load_block(points + sample * count * 3, index, count)
    seen = (z > near) & (z < far) & (tl.abs(x) < float("inf")) & (tl.abs(y) < float("inf"))
    x, y, z = tl.where(seen, x, 0.0), tl.where(seen, y, 0.0), tl.where(seen, z, 1.0)
    depth = z + 1e-5 if RELEASED else z
    camera = cameras + sample * camera_stride
    fx, skew, cx = tl.load(camera), tl.load(camera + 1), tl.load(camera + 2)
    fy, cy = tl.load(camera + 4), tl.load(camera + 5)
    u = tl.div_rn(fx * x + skew * y + cx * z, depth)
    v = tl.div_rn(fy * y + cy * z, depth)
    return x, y, z, u, v, seen
