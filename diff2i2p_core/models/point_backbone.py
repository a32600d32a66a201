"""Point branch: KPConv feature pyramid network (docs/method.md R8)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from diff2i2p_core.models.config import PointConfig
from diff2i2p_core.models.layers import PackedGroupNorm, leaky_relu
from diff2i2p_core.ops.gather import interpolate, interpolation_weights, max_pool
from diff2i2p_core.ops.kpconv import kernel_disposition, kpconv
from diff2i2p_core.ops.neighborhood import KERNEL_SIZE, Neighborhood
from diff2i2p_core.ops.pyramid import PointPyramid


class Unary(nn.Module):
    """Linear layer, packed group norm and optionally a leaky ReLU on points (N, C)."""

    def __init__(self, inputs: int, outputs: int, activate: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.norm = PackedGroupNorm(outputs, activate)

    def forward(self, x: Tensor, lengths: list[int]) -> Tensor:
        normed: Tensor = self.norm(self.linear(x), lengths)
        return normed


class KPConvBlock(nn.Module):
    """Kernel point convolution with a radius in metres, packed group norm, leaky ReLU."""

    kernel_points: Tensor

    def __init__(self, inputs: int, outputs: int, radius: float, sigma: float, normalization: str) -> None:
        super().__init__()
        self.radius = radius
        self.sigma = sigma
        self.normalization = normalization
        self.weight = nn.Parameter(torch.empty(KERNEL_SIZE, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        bound = math.sqrt(2 / (KERNEL_SIZE * inputs))
        nn.init.uniform_(self.weight, -bound, bound)
        self.register_buffer(
            "kernel_points", torch.tensor(kernel_disposition() * radius, dtype=torch.float32)
        )
        self.norm = PackedGroupNorm(outputs)

    def forward(self, x: Tensor, neighborhood: Neighborhood, lengths: list[int]) -> Tensor:
        x = kpconv(x, neighborhood, self.kernel_points, self.sigma, self.weight, self.normalization)
        normed: Tensor = self.norm(x + self.bias, lengths)
        return normed


class ResidualBlock(nn.Module):
    """A bottleneck block around a kernel point convolution. The shortcut is max-pooled if strided."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        radius: float,
        sigma: float,
        normalization: str,
        strided: bool = False,
    ) -> None:
        super().__init__()
        middle = outputs // 4
        self.strided = strided
        self.reduce = Unary(inputs, middle)
        self.conv = KPConvBlock(middle, middle, radius, sigma, normalization)
        self.expand = Unary(middle, outputs, activate=False)
        self.shortcut = Unary(inputs, outputs, activate=False) if inputs != outputs else None

    def forward(self, x: Tensor, pyramid: PointPyramid, level: int, neighborhood: Neighborhood) -> Tensor:
        """Features of `level` (if strided, of the finer level) to features of `level`.

        `neighborhood`: that of `level` (if strided, that of subsampling).
        """
        support = level - 1 if self.strided else level
        lengths = pyramid.lengths[level]
        out = self.reduce(x, pyramid.lengths[support])
        out = self.conv(out, neighborhood, lengths)
        out = self.expand(out, lengths)
        shortcut = max_pool(x, neighborhood.neighbors) if self.strided else x
        if self.shortcut is not None:
            shortcut = self.shortcut(shortcut, lengths)
        return leaky_relu(out + shortcut)


class PointBackbone(nn.Module):
    """KPConv FPN on a packed point pyramid. It gives features of the finest and of the coarsest points."""

    def __init__(self, config: PointConfig, inputs: int, fine_dim: int) -> None:
        super().__init__()
        widths = [config.width * 2 ** (i + 1) for i in range(config.levels)]
        rule = config.normalization

        def kernel(level: int) -> tuple[float, float, str]:
            scale = config.voxel * 2**level
            return 2.5 * scale, 2.0 * scale, rule

        self.stem = KPConvBlock(inputs, config.width, *kernel(0))
        self.levels = nn.ModuleList([nn.ModuleList([ResidualBlock(config.width, widths[0], *kernel(0))])])
        for i in range(1, config.levels):
            blocks = [ResidualBlock(widths[i - 1], widths[i - 1], *kernel(i - 1), strided=True)]
            for j in range(config.blocks):
                blocks.append(ResidualBlock(widths[i - 1] if j == 0 else widths[i], widths[i], *kernel(i)))
            self.levels.append(nn.ModuleList(blocks))
        # Finest first: decoders[i] produces the features of level i.
        self.decoders = nn.ModuleList(
            Unary(widths[i + 1] + widths[i], widths[i]) for i in range(config.levels - 1)
        )
        self.project = nn.Linear(widths[0], fine_dim)
        self.coarse_dim = widths[-1]

    def forward(self, pyramid: PointPyramid, features: Tensor) -> tuple[Tensor, Tensor]:
        """Input features (N_0, C) to fine features (N_0, fine_dim) and coarsest features (N_L, C_L)."""
        points = pyramid.points
        x = features
        skips = []
        for i, blocks in enumerate(self.levels):
            within = Neighborhood(points[i], points[i], pyramid.neighbors[i])
            if i == 0:
                x = self.stem(x, within, pyramid.lengths[0])
            for block in blocks:  # type: ignore[attr-defined]
                if block.strided:
                    below = Neighborhood(points[i], points[i - 1], pyramid.subsampling[i - 1])
                x = block(x, pyramid, i, below if block.strided else within)
            skips.append(x)
        coarse = x
        for i in reversed(range(len(self.decoders))):
            table = pyramid.upsampling[i]
            weights = interpolation_weights(points[i], points[i + 1], table)
            x = torch.cat([interpolate(x, table, weights.to(x.dtype)), skips[i]], dim=1)
            x = self.decoders[i](x, pyramid.lengths[i])
        return self.project(x), coarse
