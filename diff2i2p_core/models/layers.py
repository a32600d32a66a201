"""Building blocks shared by the backbones."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diff2i2p_core.ops.group_norm import group_norm_rows_
from diff2i2p_core.ops.winograd import winograd_conv3x3

LEAKY_SLOPE = 0.2
WINOGRAD_CHANNELS, WINOGRAD_PIXELS = 64, 1024
"""Convolutions with fewer channels or pixels than this do not get faster."""


def num_groups(channels: int) -> int:
    """Groups of a group norm: the largest power of two up to 32 that leaves 8 channels per group."""
    groups = 1
    while groups < 32 and channels // (groups * 2) >= 8:
        groups *= 2
    return groups


def leaky_relu(x: Tensor) -> Tensor:
    """In-place leaky ReLU, for results of norms and sums, whose backward passes do not need them."""
    return F.leaky_relu(x, LEAKY_SLOPE, inplace=True)


def unit_length(x: Tensor, dim: int) -> Tensor:
    """x over its L2 norm along `dim`, like `F.normalize`, but with half the copies in the backward pass."""
    unit: Tensor = x * x.norm(dim=dim, keepdim=True).clamp_min(1e-12).reciprocal()
    return unit


def infers_on_cpu(x: Tensor) -> bool:
    """Whether `x` goes through a network on the CPU in float32, without gradients."""
    exact = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return x.device.type == "cpu" and exact and not torch.is_grad_enabled()


def is_lean(x: Tensor) -> bool:
    """Whether layers use their CPU path for (B, C, H, W): as above, and channels-last."""
    return infers_on_cpu(x) and x.is_contiguous(memory_format=torch.channels_last)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, dilation: int = 1) -> Tensor:
    """Convolution with an odd square kernel and zero padding."""
    inputs, size = weight.shape[1], weight.shape[2]
    wide = min(inputs, len(weight)) >= WINOGRAD_CHANNELS and x.shape[2] * x.shape[3] >= WINOGRAD_PIXELS
    if size == 3 and stride == dilation == 1 and wide and is_lean(x):
        return winograd_conv3x3(x, weight, bias)
    return F.conv2d(x, weight, bias, stride, padding=dilation * (size // 2), dilation=dilation)


class ConvBlock(nn.Module):
    """Convolution, group norm and optionally a leaky ReLU on (B, C, H, W)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        activate: bool = True,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=padding, dilation=dilation)
        self.norm = nn.GroupNorm(num_groups(outputs), outputs)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        x = convolve(x, self.conv.weight, self.conv.bias, self.conv.stride[0], self.conv.dilation[0])
        if is_lean(x):
            for image in x.permute(0, 2, 3, 1).flatten(1, 2):
                normalize_rows_(image, self.norm, self.activate)
            return x
        x = self.norm(x)
        return leaky_relu(x) if self.activate else x


def normalize_rows_(rows: Tensor, norm: nn.GroupNorm, activate: bool) -> Tensor:
    """Normalise (N, C) in place, optionally followed by a leaky ReLU."""
    slope = LEAKY_SLOPE if activate else None
    return group_norm_rows_(rows, norm.num_groups, norm.weight, norm.bias, norm.eps, slope)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut, which is also a 3x3 convolution if the block is strided."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = ConvBlock(inputs, outputs, 3, stride, dilation=dilation)
        self.conv2 = ConvBlock(outputs, outputs, 3, activate=False, dilation=dilation)
        needs_projection = stride != 1 or inputs != outputs
        self.shortcut = (
            ConvBlock(inputs, outputs, 3, stride, activate=False, dilation=dilation)
            if needs_projection
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(self.conv2(self.conv1(x)) + self.shortcut(x))


class Head(nn.Sequential):
    """A 3x3 convolution block, then a 3x3 convolution to another number of channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(ConvBlock(inputs, inputs, 3), nn.Conv2d(inputs, outputs, 3, padding=1))

    def forward(self, x: Tensor, then: nn.Conv2d | None = None, stride: int = 1) -> Tensor:
        """(B, C, H, W) to (B, D, H, W), or to the channels of `then`, a following 1x1 convolution.

        `stride`: compute only every n-th row and column of the result.
        """
        block, last = cast("tuple[ConvBlock, nn.Conv2d]", tuple(self))
        if then is None:
            return convolve(block(x), last.weight, last.bias, stride)
        assert last.bias is not None and then.bias is not None
        # Both are linear and are merged: at full resolution, a map costs more than a product of weights.
        matrix = then.weight.flatten(1)
        weight = torch.einsum("dc,cihw->dihw", matrix, last.weight)
        return convolve(block(x), weight, matrix @ last.bias + then.bias, stride)


class PackedGroupNorm(nn.GroupNorm):
    """Group norm of packed points (N, C), with statistics per cloud instead of over the pack."""

    def __init__(self, channels: int, activate: bool = True) -> None:
        """`activate`: a leaky ReLU follows."""
        super().__init__(num_groups(channels), channels)
        self.activate = activate

    def forward(self, x: Tensor, lengths: list[int] | None = None) -> Tensor:
        """(N, C) to (N, C). `lengths` are the sizes of the clouds; None for a single cloud."""
        if lengths is not None and len(lengths) > 1:
            return torch.cat([self.forward(cloud) for cloud in x.split(lengths)])
        if infers_on_cpu(x):
            return normalize_rows_(x, self, self.activate)
        # As a channels-last image of N rows and one column, so that the norm needs no transposed copies.
        x = super().forward(x[None, :, None].permute(0, 3, 1, 2))
        return (leaky_relu(x) if self.activate else x).permute(0, 2, 3, 1).flatten(0, 2)
