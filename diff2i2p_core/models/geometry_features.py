"""Local features of shapes that match those of photos: two networks with XFeat's architecture.

One describes photos. The other describes what a map without colours looks like: a small network turns the
channels of `ops.depth_channels` into a grey picture, and XFeat's network describes it. Both start as XFeat
and are trained together (`engine.geometry_training`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.models.xfeat import CELL, COARSEST, DIMENSION, ConvLayer, Keypoints, XFeat
from diff2i2p_core.ops.depth_channels import CHANNELS, depth_channels

STRIDE = 4
"""Pixels between descriptors. A corner of a shape is often no corner of a photo, so both are described on a
grid, not at keypoints."""
_SHADE = 3
"""The channel that looks most like a photo: shading by a light at the camera."""


class SharpFeatures(nn.Module):
    """XFeat's network with descriptors every 4 pixels: those of the cells of 8, and detail added to them.

    XFeat detects corners and so knows exactly where its features are. Features on a grid must say themselves
    where they are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = XFeat().eval()
        del self.trunk.keypoint_head, self.trunk.fine_matcher  # not used here
        for module in self.trunk.modules():
            if isinstance(module, ConvLayer):
                module.fold()
        last = nn.Conv2d(32, DIMENSION, 1)
        self.detail = nn.Sequential(nn.Conv2d(24, 32, 3, padding=1), nn.ReLU(inplace=True), last)
        _set_zero(last)

    def forward(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        """Grey pictures (B, 1, H, W) of mean 0 and deviation 1, to descriptors (B, 64, H/4, W/4) that are not
        normalised, and reliability logits (B, 1, H/8, W/8). H and W are rounded up to multiples of 32."""
        detail = self.trunk.detail(_padded(grey))
        coarse = self.trunk.fused(detail)
        logits: Tensor = self.trunk.heatmap_head[:-1](coarse.detach())
        fine = F.interpolate(coarse, scale_factor=CELL // STRIDE, mode="bilinear")
        return fine + self.detail(detail), logits


class ShapeFeatures(nn.Module):
    """The same for channels (B, 10, H, W) of depth."""

    def __init__(self) -> None:
        super().__init__()
        last = nn.Conv2d(16, 4, 3, padding=1)
        self.stem = nn.Sequential(
            nn.Conv2d(CHANNELS, 16, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(inplace=True),
            last,
            nn.PixelShuffle(2),
        )
        _set_zero(last)
        self.features = SharpFeatures()

    def forward(self, channels: Tensor) -> tuple[Tensor, Tensor]:
        channels = _padded(channels)
        shade = channels[:, _SHADE : _SHADE + 1]
        exact = shade.float()  # in bfloat16, the deviation is less exact and takes seven times as long
        mean, deviation = exact.mean((2, 3), keepdim=True), exact.std((2, 3), keepdim=True)
        grey = (shade - mean.to(shade)) / (deviation.to(shade) + 1e-3)
        described: tuple[Tensor, Tensor] = self.features(grey + self.stem(channels))
        return described


def _set_zero(layer: nn.Conv2d) -> None:
    """So that training starts with what XFeat does."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(cast(Tensor, layer.bias))


class GeometryFeatures(nn.Module):
    """Both networks."""

    def __init__(self) -> None:
        super().__init__()
        self.photos = SharpFeatures()
        self.shapes = ShapeFeatures()

    @classmethod
    def from_xfeat(cls, xfeat: XFeat) -> GeometryFeatures:
        """Before training: both describe grey pictures as XFeat does. `xfeat` is one `for_inference`."""
        model = cls()
        state = {name: value for name, value in xfeat.state_dict().items() if name.startswith(_USED)}
        model.photos.trunk.load_state_dict(state)
        model.shapes.features.trunk.load_state_dict(state)
        return model

    @torch.no_grad()
    def describe_image(self, image: NDArray[np.uint8], most: int) -> Keypoints:
        """The `most` most reliable features of a grey (H, W) or RGB (H, W, 3) image, and dense ones every
        `STRIDE` pixels."""
        grey = grey_tensor(image)
        descriptors, logits = _described(self.photos, grey[None])
        features = _grid_features(descriptors, logits, grey.shape[1:], None, most)
        dense, reliability = _dense(descriptors, logits)
        return replace(features, dense=dense[0], reliability=reliability[0])

    @torch.no_grad()
    def describe_depth(self, depth: NDArray[np.float32], camera: Camera, most: int) -> Keypoints:
        """The `most` most reliable features of rendered depth (H, W) in metres, 0 where unknown."""
        channels = torch.from_numpy(depth_channels(depth, camera))
        descriptors, logits = _described(self.shapes, channels[None])
        known = torch.from_numpy(depth > 0)
        return _grid_features(descriptors, logits, channels.shape[1:], known, most)

    @torch.no_grad()
    def describe_depths_densely(
        self, depths: Sequence[NDArray[np.float32]], camera: Camera
    ) -> tuple[Tensor, Tensor]:
        """Descriptors (B, h, w, 64) every `STRIDE` pixels of rendered depths (H, W), and their reliability
        (B, h, w): 0 where the depth is unknown."""
        channels = np.stack([depth_channels(depth, camera) for depth in depths])
        dense, reliability = _dense(*_described(self.shapes, torch.from_numpy(channels)))
        known = torch.zeros_like(reliability)
        there = torch.from_numpy(np.stack(depths)[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE] > 0)
        known[:, : there.shape[1], : there.shape[2]] = there.to(known)
        return dense, reliability * known

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


_USED = ("skip1", "block", "heatmap_head")


def _described(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """What a network returns for images (B, C, H, W), in float32; computed in its weights' precision."""
    weights = next(network.parameters())
    padded = _padded(images).to(weights)  # before rounding: to pad bfloat16 takes much longer
    descriptors, logits = network(padded.contiguous(memory_format=torch.channels_last))
    return descriptors.float(), logits.float()


def _padded(image: Tensor) -> Tensor:
    """To multiples of 32 pixels, by repeating the last column and row."""
    below, right = (-side % COARSEST for side in image.shape[2:])
    return F.pad(image, (0, right, 0, below), mode="replicate") if below or right else image


def grey_tensor(image: NDArray[Any]) -> Tensor:
    """A grey (H, W) or RGB (H, W, 3) image as (1, H, W) of mean 0 and deviation 1."""
    grey = torch.from_numpy(image.astype(np.float32))
    grey = grey.mean(2) if grey.ndim == 3 else grey
    return ((grey - grey.mean()) / (grey.std() + 1e-3))[None]


def _grid_features(
    descriptors: Tensor, logits: Tensor, size: Sequence[int], known: Tensor | None, most: int
) -> Keypoints:
    """The `most` most reliable features of a grid of `STRIDE` pixels on an image of `size` (H, W), where
    `known` (H, W) if given."""
    height, width = size
    columns = torch.arange(STRIDE // 2, width, STRIDE)
    rows = torch.arange(STRIDE // 2, height, STRIDE)
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).reshape(-1, 2)
    if known is not None:
        grid = grid[known[grid[:, 1], grid[:, 0]]]
    cells = grid.to(logits.device) // CELL
    scores, best = logits[0, 0].sigmoid()[cells[:, 1], cells[:, 0]].topk(min(most, len(grid)))
    pixels = grid.to(logits.device)[best].float()
    return Keypoints(pixels, scores, sampled(descriptors, pixels[None])[0])


def _dense(descriptors: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """What the networks return, as unit-length descriptors (B, h, w, 64) and reliability (B, h, w), both
    every `STRIDE` pixels."""
    dense = F.normalize(descriptors.permute(0, 2, 3, 1), dim=3).contiguous()
    return dense, F.interpolate(logits.sigmoid(), scale_factor=CELL // STRIDE)[:, 0]


def sampled(descriptors: Tensor, pixels: Tensor) -> Tensor:
    """Unit-length descriptors (B, N, 64) at pixels (B, N, 2) (u, v) of dense ones (B, 64, H/4, W/4)."""
    size = pixels.new_tensor([descriptors.shape[3], descriptors.shape[2]]) * STRIDE
    grid = (2 * pixels + 1) / size - 1
    rows = F.grid_sample(descriptors, grid[:, None], "bicubic", align_corners=False)[:, :, 0]
    return F.normalize(rows.transpose(1, 2), dim=2)
