"""Best matches within pairs of patches, without writing gathered features or similarities to memory.

One program handles a block of rows of one pair of patches, and all its columns. It gathers both from the
features, multiplies them, and keeps the k best columns of each row and the k best rows of the block for each
column. A maximum over the blocks then completes the columns' search.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS = 64
"""Rows of a block. Its features and similarities must fit into a GPU's registers and shared memory."""


def best_in_patches(
    rows: Tensor, columns: Tensor, row_features: Tensor, column_features: Tensor, k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The same as `ops.mutual._best_in_patches`. Similarities are always float32."""
    rows, columns = rows.contiguous(), columns.contiguous()
    (pairs, height), width = rows.shape, columns.shape[1]
    in_row, in_column = min(k, width), min(k, height)
    best = torch.empty(pairs, height, in_row, dtype=torch.float32, device=rows.device)
    numbers = torch.empty(best.shape, dtype=torch.long, device=rows.device)
    blocks = triton.cdiv(height, ROWS)
    of_columns = best.new_empty(pairs, blocks, in_column, width)
    padded = max(16, triton.next_power_of_2(width))
    if of_columns.numel():
        with torch.cuda.device_of(rows):
            best_in_block[(pairs, blocks)](
                rows, columns, row_features, column_features, best, numbers, of_columns,
                height, width, len(column_features), *row_features.stride(), *column_features.stride(),
                CHANNELS=row_features.shape[1], IN_ROW=in_row, IN_COLUMN=in_column,
                ROWS=ROWS, COLUMNS=padded, STEP=32, num_warps=8 if padded > 64 else 4,
            )  # fmt: skip
    of_columns = of_columns.flatten(1, 2)
    if in_column == 1:
        return best, numbers, of_columns.amax(1)
    return best, numbers, of_columns.topk(in_column, dim=1).values[:, -1]


@triton.jit(do_not_specialize=["width", "total"])
def best_in_block(
    rows, columns, row_features, column_features, best, numbers, of_columns,
    height, width, total, row_stride, row_channel_stride, column_stride, column_channel_stride,
    CHANNELS: tl.constexpr, IN_ROW: tl.constexpr, IN_COLUMN: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    pair = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    j = tl.arange(0, COLUMNS)
    row = tl.load(rows + pair * height + i, mask=i < height, other=0)
    column = tl.load(columns + pair * width + j, mask=j < width, other=total)
    similarity = tl.zeros((ROWS, COLUMNS), tl.float32)
    for first in range(0, CHANNELS, STEP):
        channel = first + tl.arange(0, STEP)
        a = tl.load(
            row_features + row[:, None] * row_stride + channel[None, :] * row_channel_stride,
            mask=(i < height)[:, None] & (channel < CHANNELS)[None, :],
            other=0.0,
        )
        b = tl.load(
            column_features + column[None, :] * column_stride + channel[:, None] * column_channel_stride,
            mask=(column < total)[None, :] & (channel < CHANNELS)[:, None],
            other=0.0,
        )
        # Not in TF32: its rounding would change which match is best.
        similarity = tl.dot(a, b, similarity, input_precision="ieee")
    inside = (i < height)[:, None] & (j < width)[None, :]
    similarity = tl.where(inside, similarity, float("-inf"))

    left = similarity
    for rank in tl.static_range(IN_ROW):
        value, at = tl.max(left, 1, return_indices=True, return_indices_tie_break_left=True)
        cell = (pair * height + i) * IN_ROW + rank
        tl.store(best + cell, value, mask=i < height)
        tl.store(numbers + cell, at.to(tl.int64), mask=i < height)
        left = tl.where(j[None, :] == at[:, None], float("-inf"), left)
    left = similarity
    block = pair * tl.num_programs(1) + tl.program_id(1)
    for rank in tl.static_range(IN_COLUMN):
        value, at = tl.max(left, 0, return_indices=True, return_indices_tie_break_left=True)
        tl.store(of_columns + (block * IN_COLUMN + rank) * width + j, value, mask=j < width)
        left = tl.where(tl.arange(0, ROWS)[:, None] == at[None, :], float("-inf"), left)
