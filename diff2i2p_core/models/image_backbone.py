"""Image branch: a ResNet with a feature pyramid, and the multi-level image nodes on top of the fusion."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diff2i2p_core.models.config import ImageConfig
from diff2i2p_core.models.layers import WINOGRAD_CHANNELS, BasicBlock, ConvBlock, convolve, infers_on_cpu

NODE_LEVELS = 3


def _upsample(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


class Head(nn.Sequential):
    """A 3x3 convolution block, then a 3x3 convolution to another width."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(ConvBlock(inputs, inputs, 3), nn.Conv2d(inputs, outputs, 3, padding=1))

    def forward(self, x: Tensor, then: nn.Conv2d | None = None, stride: int = 1) -> Tensor:
        """(B, C, H, W) to (B, D, H, W), or to the channels of `then`, a 1x1 convolution that follows.

        `stride`: only every n-th row and column of the result.
        """
        block, last = cast("tuple[ConvBlock, nn.Conv2d]", tuple(self))
        if then is None:
            return convolve(block(x), last.weight, last.bias, stride)
        assert last.bias is not None and then.bias is not None
        # Both are linear and become one: at full resolution a map costs more than the product of weights.
        matrix = then.weight.flatten(1)
        weight = torch.einsum("dc,cihw->dihw", matrix, last.weight)
        return convolve(block(x), weight, matrix @ last.bias + then.bias, stride)


class ImageBackbone(nn.Module):
    """ResNet-FPN (METHOD 2.2): (B, C, H, W) to a fine map and the coarsest map.

    Stage i runs at stride 2^(i+1); the decoder climbs back to the stage of `fine_stride`, or through the
    stem's features to full resolution for `fine_stride` 1.
    """

    def __init__(self, config: ImageConfig, inputs: int, fine_dim: int) -> None:
        super().__init__()
        channels = config.channels
        strides = [2 ** (i + 1) for i in range(len(channels))]
        if config.fine_stride not in (1, *strides):
            raise ValueError(f"fine_stride must be one of {(1, *strides)}")
        self.full_resolution = config.fine_stride == 1
        self.fine_stage = 0 if self.full_resolution else strides.index(config.fine_stride)

        self.stem = ConvBlock(inputs, channels[0], 7, stride=2)
        self.stages = nn.ModuleList()
        previous = channels[0]
        for i, (width, count) in enumerate(zip(channels, config.blocks, strict=True)):
            blocks = [BasicBlock(previous, width, 1 if i == 0 else 2)]
            blocks += [BasicBlock(width, width) for _ in range(count - 1)]
            self.stages.append(nn.Sequential(*blocks))
            previous = width

        self.top = nn.Conv2d(channels[-1], channels[-1], 1)
        # Finest first: laterals[0] belongs to stage `fine_stage`.
        pairs = list(zip(channels[self.fine_stage : -1], channels[self.fine_stage + 1 :], strict=True))
        self.laterals = nn.ModuleList(nn.Conv2d(fine, coarse, 1) for fine, coarse in pairs)
        self.merges = nn.ModuleList(Head(coarse, fine) for fine, coarse in pairs)
        width = channels[self.fine_stage]
        if self.full_resolution:
            self.stem_lateral = nn.Conv2d(width, width, 1)
            self.stem_merge = Head(width, width)
        self.project = nn.Conv2d(width, fine_dim, 1)

    def forward(self, image: Tensor, step: int = 1) -> tuple[Tensor, Tensor]:
        """Fine map (B, fine_dim, H / fine_stride, W / fine_stride) and coarsest map (B, C, H/2^n, W/2^n).

        `step`: only every n-th row and column of the fine map.
        """
        stem = self.stem(image)
        lean = infers_on_cpu(image) and stem.shape[1] >= WINOGRAD_CHANNELS
        if lean or torch.is_autocast_enabled(image.device.type):
            # bfloat16 convolutions are 2-4 times faster so, and the CPU's own layers need it. Else not in
            # float32: torch's group norm of this layout adds up without care; gradients lose three digits.
            stem = stem.contiguous(memory_format=torch.channels_last)
        features = []
        x = stem
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        top = latent = self.top(features[-1])
        skips = features[self.fine_stage : -1]
        for i in reversed(range(len(self.merges))):
            last = i == 0 and not self.full_resolution
            merged = self.laterals[i](skips[i]) + _upsample(latent, skips[i])
            latent = self.merges[i](merged, *((self.project, step) if last else ()))
        if self.full_resolution:
            full = _upsample(self.stem_lateral(stem) + latent, image)
            return self.stem_merge(full, self.project, step), top
        return (latent if len(self.merges) else self.project(latent[..., ::step, ::step])), top


class NodePyramid(nn.Module):
    """Three levels of image nodes from the finest grid of tokens (METHOD 2.5)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.downsamples = nn.ModuleList(BasicBlock(dim, dim, stride=2) for _ in range(NODE_LEVELS - 1))
        self.outputs = nn.ModuleList(nn.Conv2d(dim, dim, 1) for _ in range(NODE_LEVELS))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, D, h, w) to nodes (B, M, D): all of the finest level row by row, then the next."""
        levels = [tokens]
        for downsample in self.downsamples:
            levels.append(downsample(levels[-1]))
        nodes = [output(level).flatten(2) for output, level in zip(self.outputs, levels, strict=True)]
        return torch.cat(nodes, dim=-1).transpose(1, 2)
