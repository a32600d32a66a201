"""Building blocks shared by the backbones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAKY_SLOPE = 0.2


def num_groups(channels: int) -> int:
    """Groups of a group norm: the largest power of two up to 32 that leaves 8 channels a group."""
    groups = 1
    while groups < 32 and channels // (groups * 2) >= 8:
        groups *= 2
    return groups


def leaky_relu(x: Tensor) -> Tensor:
    """In place: for results of norms and sums, whose backward passes do not need them."""
    return F.leaky_relu(x, LEAKY_SLOPE, inplace=True)


def unit_length(x: Tensor, dim: int) -> Tensor:
    """x over its L2 norm along `dim`, as `F.normalize`: a product, whose backward makes half the copies."""
    return x * x.norm(dim=dim, keepdim=True).clamp_min(1e-12).reciprocal()


class ConvBlock(nn.Module):
    """Convolution, group norm and (by choice) leaky ReLU on (B, C, H, W)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, activate: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
        self.norm = nn.GroupNorm(num_groups(outputs), outputs)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return leaky_relu(x) if self.activate else x


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut; the shortcut of a strided block is a 3x3 convolution, too."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = ConvBlock(inputs, outputs, 3, stride)
        self.conv2 = ConvBlock(outputs, outputs, 3, activate=False)
        needs_projection = stride != 1 or inputs != outputs
        self.shortcut = (
            ConvBlock(inputs, outputs, 3, stride, activate=False) if needs_projection else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(self.conv2(self.conv1(x)) + self.shortcut(x))


class PackedGroupNorm(nn.GroupNorm):
    """Group norm of packed points (N, C): statistics over each cloud of the pack, not over the pack."""

    def __init__(self, channels: int, activate: bool = True) -> None:
        """`activate`: a leaky ReLU follows."""
        super().__init__(num_groups(channels), channels)
        self.activate = activate

    def forward(self, x: Tensor, lengths: list[int] | None = None) -> Tensor:
        """(N, C) to (N, C). `lengths` are the clouds' sizes; None for a single cloud."""
        if lengths is not None and len(lengths) > 1:
            return torch.cat([self.forward(cloud) for cloud in x.split(lengths)])
        # As an image of N rows and one column, channels last: the norm then needs no transposed copies.
        x = super().forward(x[None, :, None].permute(0, 3, 1, 2))
        return (leaky_relu(x) if self.activate else x).permute(0, 2, 3, 1).flatten(0, 2)
