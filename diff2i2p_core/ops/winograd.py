"""3x3 convolution by Winograd's minimal filtering: a quarter of the multiplications. For CPU inference."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 4
"""Side of an output tile, computed from an input tile with a margin of one pixel."""
WINDOW = TILE + 2
POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
"""Sampling points of the polynomials (besides infinity). The usual 0, 1, -1, 2, -2 lose twice the digits."""
BLOCK = 2**20
"""Number of values in the transformed tiles of one block of rows, so that they stay in the cache. Blocks are
larger if the transformed weights are larger, because each block reads them."""


def _transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Matrices that transform flattened tiles of input (36, 36), weights (36, 9) and output (16, 36).

    Toom-Cook: Y = A [(G w) * (B x)] along each axis; both axes at once are the Kronecker products.
    """
    samples = np.array(POINTS)
    b = np.zeros((WINDOW, WINDOW))
    g, a = np.zeros((WINDOW, 3)), np.zeros((TILE, WINDOW))
    for i, point in enumerate(samples):
        other_samples = np.delete(samples, i)
        b[i, : WINDOW - 1] = np.poly(other_samples)[::-1]
        g[i] = point ** np.arange(3) / np.prod(point - other_samples)
        a[:, i] = point ** np.arange(TILE)
    b[-1] = np.poly(samples)[::-1]
    g[-1, -1] = a[-1, -1] = 1
    both = (torch.tensor(np.kron(m, m), dtype=torch.float32) for m in (b, g, a))
    of_input, of_weight, of_output = both
    return of_input, of_weight, of_output


_INPUT, _WEIGHT, _OUTPUT = _transforms()


def winograd_conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.conv2d(x, weight, bias, padding=1)` for float32 on the CPU. The result is channels-last.

    Relative errors are about three times those of the direct sum (1e-6). Do not use it for training: it has
    no backward pass, and autograd would keep every block.

    Args:
        x: (B, C, H, W); channels-last input is read without a copy.
        weight, bias: (D, C, 3, 3), (D,).
    """
    batch, inputs, height, width = x.shape
    outputs = len(weight)
    kernels = (_WEIGHT @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(WINDOW**2, inputs, outputs)
    rows, columns = -(-height // TILE), -(-width // TILE)
    step = max(1, max(BLOCK, kernels.numel() // 2) // (WINDOW**2 * columns * max(inputs, outputs)))
    result = x.new_empty(batch, height, width, outputs)
    # Touching new memory takes as long as the computation, so all blocks use the same memory.
    area, size = WINDOW**2, step * columns * max(inputs, outputs)
    spare = x.new_empty(2, area * size)
    for image, target in zip(x.permute(0, 2, 3, 1), result, strict=True):
        for first in range(0, rows, step):
            count = min(step, rows - first)
            tiles = spare[0, : area * count * columns * inputs].view(area, -1)
            _tiles(image, first, count, columns, tiles)
            changed = spare[1, : tiles.numel()].view_as(tiles)
            torch.mm(_INPUT, tiles, out=changed)
            products = spare[0, : area * count * columns * outputs].view(area, -1, outputs)
            torch.bmm(changed.view(area, -1, inputs), kernels, out=products)
            block = spare[1, : TILE**2 * count * columns * outputs].view(TILE**2, -1)
            torch.mm(_OUTPUT, products.view(area, -1), out=block)
            pixels = block.view(TILE, TILE, count, columns, outputs).permute(2, 0, 3, 1, 4)
            part = target[first * TILE : (first + count) * TILE]
            if part.numel() == block.numel():
                part.view(pixels.shape).copy_(pixels)
            else:
                part.copy_(pixels.reshape(count * TILE, -1, outputs)[: len(part), :width])
            if bias is not None:
                part += bias
    return result.permute(0, 3, 1, 2)


def _tiles(image: Tensor, first: int, count: int, columns: int, out: Tensor) -> None:
    """Overlapping tiles (36, tiles * C) in `count` rows of tiles of an image (H, W, C), zero outside it."""
    _, width, channels = image.shape
    top = first * TILE - 1
    size = count * TILE + 2, columns * TILE + 2
    inside = image[max(top, 0) : top + size[0]]
    above = max(-top, 0)
    below = size[0] - above - len(inside)
    padded = F.pad(inside, (0, 0, 1, size[1] - width - 1, above, below))
    row, column = size[1] * channels, channels
    shape = WINDOW, WINDOW, count, columns, channels
    out.view(shape).copy_(padded.as_strided(shape, (row, column, TILE * row, TILE * column, 1)))
