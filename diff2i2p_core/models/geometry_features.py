"""Local features of shapes that match those of photos: two networks with XFeat's architecture.

One describes photos. The other describes what a map without colours looks like: a small network turns the
channels of `ops.depth_channels` into a grey picture, and XFeat's network describes it. Both start as XFeat and
are trained together (`engine.geometry_training`).
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diff2i2p_core.models.xfeat import CELL, COARSEST, ConvLayer, DenseFeatures, Keypoints, XFeat, descriptors_at
from diff2i2p_core.ops.depth_channels import CHANNELS

STRIDE = 4
"""Pixels between features. A corner of a shape is often no corner of a photo, so both are described on a
grid, not at keypoints."""
_SHADE = 3
"""The channel that looks most like a photo: shading by a light at the camera."""


class ShapeFeatures(nn.Module):
    """XFeat for channels (B, 10, H, W) of depth."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(CHANNELS, 16, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, 4, 3, padding=1),
            nn.PixelShuffle(2),
        )
        last = cast(nn.Conv2d, self.stem[4])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(cast(Tensor, last.bias))
        self.trunk = feature_network()

    def forward(self, channels: Tensor) -> tuple[Tensor, Tensor]:
        """Descriptors (B, 64, H/8, W/8) that are not normalised, and reliability logits (B, 1, H/8, W/8)."""
        channels = _padded(channels)
        shade = channels[:, _SHADE : _SHADE + 1]
        mean, deviation = shade.mean((2, 3), keepdim=True), shade.std((2, 3), keepdim=True)
        return described(self.trunk, (shade - mean) / (deviation + 1e-3) + self.stem(channels))


class GeometryFeatures(nn.Module):
    """Both networks."""

    def __init__(self) -> None:
        super().__init__()
        self.photos = feature_network()
        self.shapes = ShapeFeatures()

    @classmethod
    def from_xfeat(cls, xfeat: XFeat) -> GeometryFeatures:
        """Before training: both describe grey pictures as XFeat does. `xfeat` is one `for_inference`."""
        model = cls()
        state = {name: value for name, value in xfeat.state_dict().items() if name.startswith(_USED)}
        model.photos.load_state_dict(state)
        model.shapes.trunk.load_state_dict(state)
        return model


_USED = ("skip1", "block", "heatmap_head")


def feature_network() -> XFeat:
    """XFeat without what is not used here, with its batch norms folded into the convolutions."""
    network = XFeat().eval()
    del network.keypoint_head, network.fine_matcher
    for module in network.modules():
        if isinstance(module, ConvLayer):
            module.fold()
    return network


def described(network: XFeat, grey: Tensor) -> tuple[Tensor, Tensor]:
    """Descriptors and reliability logits, as `ShapeFeatures` gives them, of grey pictures (B, 1, H, W) of
    mean 0 and deviation 1."""
    descriptors = network.describe(_padded(grey))
    logits: Tensor = network.heatmap_head[:-1](descriptors.detach())
    return descriptors, logits


def _padded(image: Tensor) -> Tensor:
    """To multiples of 32 pixels, by repeating the last column and row."""
    below, right = (-side % COARSEST for side in image.shape[2:])
    return F.pad(image, (0, right, 0, below), mode="replicate") if below or right else image


def grid_features(dense: DenseFeatures, known: Tensor | None, most: int) -> Keypoints:
    """The `most` most reliable features of a grid of `STRIDE` pixels, where `known` (H, W) if given."""
    height, width = dense.size
    rows = torch.arange(STRIDE // 2, height, STRIDE)
    columns = torch.arange(STRIDE // 2, width, STRIDE)
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).reshape(-1, 2)
    if known is not None:
        grid = grid[known[grid[:, 1], grid[:, 0]]]
    cells = grid.to(dense.reliability.device) // CELL
    scores, best = dense.reliability[cells[:, 1], cells[:, 0]].topk(min(most, len(grid)))
    pixels = grid.float()[best.cpu()].to(scores.device)
    return Keypoints(pixels, scores, descriptors_at(dense, pixels))


def sampled(descriptors: Tensor, pixels: Tensor) -> Tensor:
    """Unit-length descriptors (B, N, 64) at pixels (B, N, 2) (u, v) of dense ones (B, 64, h, w)."""
    size = pixels.new_tensor([descriptors.shape[3], descriptors.shape[2]]) * CELL
    grid = (2 * pixels + 1) / size - 1
    rows = F.grid_sample(descriptors, grid[:, None], "bicubic", align_corners=False)[:, :, 0]
    return F.normalize(rows.transpose(1, 2), dim=2)
