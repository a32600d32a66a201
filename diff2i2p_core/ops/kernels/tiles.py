"""Shared by the kernels that filter images: a program handles a tile of pixels of one image."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor


def grid_of(images: Tensor, rows: int, columns: int) -> tuple[int, int]:
    """The launch grid for tiles of `rows` x `columns` pixels of images (B, H, W)."""
    batch, height, width = images.shape
    return triton.cdiv(height, rows) * triton.cdiv(width, columns), batch


@triton.jit
def tile(height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The start of this program's image, and the rows and columns of its pixels."""
    across = tl.cdiv(width, COLUMNS)
    row = tl.program_id(0) // across * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    return tl.program_id(1).to(tl.int64) * height * width, row, column


@triton.jit
def at(image, row, column, height, width, outside):
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return tl.load(image + row * width + column, mask=inside, other=outside)


@triton.jit
def put(image, row, column, height, width, value):
    tl.store(image + row * width + column, value, mask=(row < height) & (column < width))
