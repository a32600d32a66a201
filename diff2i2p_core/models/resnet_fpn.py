"""The released image branch: a ResNet with a feature pyramid, trained from scratch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diff2i2p_core.errors import InputError
from diff2i2p_core.models.config import ImageConfig
from diff2i2p_core.models.image_branch import COLOR_SCALE, ImageBranch, gray_values
from diff2i2p_core.models.layers import WINOGRAD_CHANNELS, BasicBlock, ConvBlock, Head, infers_on_cpu


def _upsample(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


class ResNetFPN(ImageBranch):
    """ResNet-FPN (docs/method.md R7): (B, C, H, W) to a fine map and the coarsest map.

    Stage i runs at stride 2^(i+1). The decoder goes back up to the stage of `fine_stride` or, for
    `fine_stride` 1, through the stem's features to full resolution.
    """

    def __init__(self, config: ImageConfig, inputs: int, fine_dim: int) -> None:
        super().__init__(config, inputs, fine_dim)
        channels = config.channels
        strides = [2 ** (i + 1) for i in range(len(channels))]
        if config.fine_stride not in (1, *strides):
            raise InputError(f"image.fine_stride {config.fine_stride}: must be one of {(1, *strides)}")
        self.full_resolution = config.fine_stride == 1
        self.fine_stage = 0 if self.full_resolution else strides.index(config.fine_stride)

        self.stem = ConvBlock(inputs, channels[0], 7, stride=2)
        self.stages = nn.ModuleList()
        previous = channels[0]
        for i, (width, count) in enumerate(zip(channels, config.blocks, strict=True)):
            blocks = [BasicBlock(previous, width, 1 if i == 0 else 2, config.dilation)]
            blocks += [BasicBlock(width, width, dilation=config.dilation) for _ in range(count - 1)]
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
        self.coarse_dim = channels[-1]

    @staticmethod
    def normalise(colors: Tensor, config: ImageConfig) -> Tensor:
        """Subtracts the mean of each image."""
        if config.color == "gray":
            gray = gray_values(colors)
            return gray - gray.mean()
        return (colors - colors.mean((1, 2), keepdim=True)) * COLOR_SCALE

    def forward(self, image: Tensor, step: int = 1) -> tuple[Tensor, Tensor]:
        """See `ImageBranch`. The coarsest map is resampled if its stride differs from that of the nodes."""
        grid = self.grid(*image.shape[-2:]).nodes
        stem = self.stem(image)
        lean = infers_on_cpu(image) and stem.shape[1] >= WINOGRAD_CHANNELS
        if lean or torch.is_autocast_enabled(image.device.type):
            # In this layout, bfloat16 convolutions are 2-4 times faster, and our CPU layers need it.
            # Otherwise not for float32: torch's group norm sums inaccurately in it, and gradients lose three
            # digits.
            stem = stem.contiguous(memory_format=torch.channels_last)
        features = []
        x = stem
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        top = latent = self.top(features[-1])
        if top.shape[-2:] != grid:
            top = F.interpolate(top, size=grid, mode="bilinear", align_corners=True)
        skips = features[self.fine_stage : -1]
        for i in reversed(range(len(self.merges))):
            last = i == 0 and not self.full_resolution
            merged = self.laterals[i](skips[i]) + _upsample(latent, skips[i])
            latent = self.merges[i](merged, *((self.project, step) if last else ()))
        if self.full_resolution:
            full = _upsample(self.stem_lateral(stem) + latent, image)
            return self.stem_merge(full, self.project, step), top
        return (latent if len(self.merges) else self.project(latent[..., ::step, ::step])), top
