"""3x3 convolution by Winograd's minimal filtering: a quarter of the products, for inference on CPUs."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 4
"""Side of a tile of the output; it is computed from a tile of the input with a margin of one pixel."""
WINDOW = TILE + 2
POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
"""Where the polynomials are sampled (and at infinity). The usual 0, 1, -1, 2, -2 lose twice the digits."""
BLOCK = 2**22
"""Numbers of a block's transformed tiles: some rows of tiles at a time, so that they stay in the cache."""


def _transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Matrices of the input (36, 36), the weights (36, 9) and the output (16, 36) on flattened tiles.

    Toom-Cook: Y = A [(G w) * (B x)] along each axis; both axes at once are the Kronecker products.
    """
    samples = np.array(POINTS)
    b = np.zeros((WINDOW, WINDOW))
    g, a = np.zeros((WINDOW, 3)), np.zeros((TILE, WINDOW))
    for i, point in enumerate(samples):
        others = np.delete(samples, i)
        b[i, : WINDOW - 1] = np.poly(others)[::-1]
        g[i] = point ** np.arange(3) / np.prod(point - others)
        a[:, i] = point ** np.arange(TILE)
    b[-1] = np.poly(samples)[::-1]
    g[-1, -1] = a[-1, -1] = 1
    both = (torch.tensor(np.kron(m, m), dtype=torch.float32) for m in (b, g, a))
    of_input, of_weight, of_output = both
    return of_input, of_weight, of_output


_INPUT, _WEIGHT, _OUTPUT = _transforms()


def winograd_conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.conv2d(x, weight, bias, padding=1)` of float32 on the CPU; the result is channels-last.

    Relative errors are about three times those of the direct sum (1e-6). Has no backward pass of its own:
    autograd would keep every block.

    Args:
        x: (B, C, H, W); channels-last input is read without a copy.
        weight, bias: (D, C, 3, 3), (D,).
    """
    batch, inputs, height, width = x.shape
    outputs = len(weight)
    kernels = (_WEIGHT @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(WINDOW**2, inputs, outputs)
    rows, columns = -(-height // TILE), -(-width // TILE)
    step = max(1, BLOCK // (WINDOW**2 * columns * max(inputs, outputs)))
    image = x.permute(0, 2, 3, 1)
    result = x.new_empty(batch, height, width, outputs)
    for b in range(batch):
        for first in range(0, rows, step):
            count = min(step, rows - first)
            tiles = _tiles(image[b], first, count, columns)
            products = torch.bmm((_INPUT @ tiles).view(WINDOW**2, -1, inputs), kernels)
            block = (_OUTPUT @ products.view(WINDOW**2, -1)).view(TILE, TILE, count, columns, outputs)
            if bias is not None:
                block += bias
            top = first * TILE
            target = result[b, top : top + count * TILE]
            block = block.permute(2, 0, 3, 1, 4)
            if target.shape[0] == count * TILE and width == columns * TILE:
                target.view(block.shape).copy_(block)
            else:
                target.copy_(block.reshape(count * TILE, -1, outputs)[: target.shape[0], :width])
    return result.permute(0, 3, 1, 2)


def _tiles(image: Tensor, first: int, count: int, columns: int) -> Tensor:
    """Overlapping tiles (36, tiles * C) of `count` rows of tiles of an image (H, W, C), zero outside it."""
    _, width, channels = image.shape
    top = first * TILE - 1
    size = count * TILE + 2, columns * TILE + 2
    inside = image[max(top, 0) : top + size[0]]
    above = max(-top, 0)
    below = size[0] - above - len(inside)
    padded = F.pad(inside, (0, 0, 1, size[1] - width - 1, above, below))
    row, column = size[1] * channels, channels
    view = padded.as_strided(
        (WINDOW, WINDOW, count, columns, channels), (row, column, TILE * row, TILE * column, 1)
    )
    return view.reshape(WINDOW**2, -1)
