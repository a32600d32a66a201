"""XFeat: pre-trained local features of an image, sparse and dense, in milliseconds on a CPU core.

This is the network of Potje et al., "XFeat: Accelerated Features for Lightweight Image Matching" (CVPR 2024),
with the tensor names of its published weights. The code around it differs in two ways. Images of any size are
padded, while the original resamples them to multiples of 32 pixels. Pixel centres are at integers throughout,
while the original samples descriptors up to half a pixel off, and its dense keypoints are half a cell off
from its sparse ones.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TypeVar, cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from diff2i2p_core.errors import InputError
from diff2i2p_core.ops.backend import computes_bfloat16

CELL = 8
"""Side in pixels of a cell of the dense map, which has one descriptor."""
COARSEST = 32
"""Side in pixels of a cell of the coarsest features. The network needs complete ones."""
DIMENSION = 64
PEAK_WINDOW = 5
"""Pixels. A keypoint is the maximum of a square of this side."""


@dataclass(frozen=True)
class DenseFeatures:
    """The network's output for one image (H, W), padded on the right and below to multiples of 32 pixels."""

    descriptors: Tensor
    """(64, h, w) unit length, one per cell of 8 x 8 pixels."""
    heatmap: Tensor
    """(8 h, 8 w) probability that each pixel is the keypoint of its cell."""
    reliability: Tensor
    """(h, w) probability that a cell's descriptor is matched correctly."""
    size: tuple[int, int]
    """(H, W)."""


@dataclass(frozen=True)
class Keypoints:
    """Keypoints with descriptors, best first."""

    pixels: Tensor
    """(N, 2) float32, (u, v)."""
    scores: Tensor
    """(N,): heat times reliability."""
    descriptors: Tensor
    """(N, 64) unit length."""
    dense: Tensor | None = None
    """(h, w, 64) unit length, of the whole image, from networks whose poses are compared with it."""
    reliability: Tensor | None = None
    """(h, w) how likely each of these is matched correctly."""

    def strongest(self, count: int) -> Keypoints:
        """With the first keypoints only, and all of the dense descriptors."""
        pixels, scores, descriptors = (of[:count] for of in (self.pixels, self.scores, self.descriptors))
        return Keypoints(pixels, scores, descriptors, self.dense, self.reliability)


class ConvLayer(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.layer = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs, affine=False),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.layer(x))

    def fold(self) -> None:
        """Merge the batch norm, with its running statistics, into the convolution."""
        convolution, norm, relu = cast(tuple[nn.Conv2d, nn.BatchNorm2d, nn.ReLU], tuple(self.layer))
        self.layer = nn.Sequential(fuse_conv_bn_eval(convolution, norm), relu)


class XFeat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.skip1 = nn.Sequential(nn.AvgPool2d(4, stride=4), nn.Conv2d(1, 24, 1))
        self.block1 = nn.Sequential(
            ConvLayer(1, 4), ConvLayer(4, 8, stride=2), ConvLayer(8, 8), ConvLayer(8, 24, stride=2)
        )
        self.block2 = nn.Sequential(ConvLayer(24, 24), ConvLayer(24, 24))
        self.block3 = nn.Sequential(ConvLayer(24, 64, stride=2), ConvLayer(64, 64), ConvLayer(64, 64, 1))
        self.block4 = nn.Sequential(ConvLayer(64, 64, stride=2), ConvLayer(64, 64), ConvLayer(64, 64))
        self.block5 = nn.Sequential(
            ConvLayer(64, 128, stride=2), ConvLayer(128, 128), ConvLayer(128, 128), ConvLayer(128, 64, 1)
        )
        self.block_fusion = nn.Sequential(ConvLayer(64, 64), ConvLayer(64, 64), nn.Conv2d(64, DIMENSION, 1))
        self.heatmap_head = nn.Sequential(
            ConvLayer(64, 64, 1), ConvLayer(64, 64, 1), nn.Conv2d(64, 1, 1), nn.Sigmoid()
        )
        self.keypoint_head = nn.Sequential(
            *(ConvLayer(64, 64, 1) for _ in range(3)), nn.Conv2d(64, CELL**2 + 1, 1)
        )
        # Refines matches of dense features. Not used here, but its tensors are in the published weights.
        hidden = [nn.Linear(2 * DIMENSION, 512)]
        hidden += [nn.Linear(512, 512) for _ in range(3)]
        layers = [(linear, nn.BatchNorm1d(512, affine=False), nn.ReLU(inplace=True)) for linear in hidden]
        self.fine_matcher = nn.Sequential(*(module for layer in layers for module in layer))
        self.fine_matcher.append(nn.Linear(512, CELL**2))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images (B, 1, H, W) of mean 0 and deviation 1, H and W multiples of 32, to descriptors
        (B, 64, H/8, W/8) that are not normalised, keypoint logits (B, 65, H/8, W/8) (one for each pixel of a
        cell and one for no keypoint), and reliability (B, 1, H/8, W/8)."""
        descriptors = self.describe(image)
        logits = self.keypoint_head(F.pixel_unshuffle(image, CELL))
        return descriptors, logits, self.heatmap_head(descriptors)

    def describe(self, image: Tensor) -> Tensor:
        """Only the descriptors of `forward`."""
        return self.fused(self.detail(image))

    def detail(self, image: Tensor) -> Tensor:
        """Features (B, 24, H/4, W/4)."""
        return cast(Tensor, self.block2(self.block1(image) + self.skip1(image)))

    def fused(self, x2: Tensor) -> Tensor:
        """The descriptors of these features."""
        x3 = self.block3(x2)
        x4 = self.block4(x3)
        x5 = self.block5(x4)
        x4, x5 = (F.interpolate(x, x3.shape[-2:], mode="bilinear") for x in (x4, x5))
        return cast(Tensor, self.block_fusion(x3 + x4 + x5))

    def for_inference(self) -> XFeat:
        """A faster copy that cannot be trained: batch norms folded, channels-last."""
        model = copy.deepcopy(self).eval().requires_grad_(False)
        for module in model.modules():
            if isinstance(module, ConvLayer):
                module.fold()
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model


N = TypeVar("N", bound=nn.Module)


def rounded(network: N) -> N:
    """A copy in bfloat16 if the network is on a CPU that computes with it, else the network itself.

    Measured for XFeat: 40 % less time. Descriptors turn by 0.6 degrees in the mean, so other pixels match,
    but as many, and errors of poses stay the same (docs/benchmarks.md).
    """
    if next(network.parameters()).device.type != "cpu" or not computes_bfloat16():
        return network
    return copy.deepcopy(network).bfloat16()


@torch.no_grad()
def dense_features(model: XFeat, image: NDArray[np.uint8] | Tensor) -> DenseFeatures:
    """Features of a grey (H, W) or RGB (H, W, 3) uint8 image, on the model's device. A tensor is there
    already, such as a view that was rendered there."""
    weights = next(model.parameters())
    prepared = _prepared_there(image) if isinstance(image, Tensor) else torch.from_numpy(_prepared(image))
    padded = prepared[None, None]
    descriptors, logits, reliability = (part.float() for part in model(padded.to(weights)))
    heatmap = F.pixel_shuffle(logits.softmax(1)[:, :-1], CELL)
    descriptors = F.normalize(descriptors[0], dim=0)
    return DenseFeatures(descriptors, heatmap[0, 0], reliability[0, 0], (image.shape[0], image.shape[1]))


def detect(dense: DenseFeatures, top_k: int = 2048, min_heat: float = 0.05) -> Keypoints:
    """The best `top_k` keypoints: maxima of the heatmap over 5 x 5 pixels that are at least `min_heat`."""
    height, width = dense.size
    heatmap = dense.heatmap[:height, :width]
    rows, columns = (_peaks(dense.heatmap)[:height, :width] & (heatmap > min_heat)).nonzero(as_tuple=True)
    pixels = torch.stack([columns, rows], dim=1).float()
    scores = heatmap[rows, columns] * _sample(dense.reliability[None], pixels, "bilinear")[:, 0]
    scores, best = scores.topk(min(top_k, len(scores)))
    pixels = pixels[best]
    return Keypoints(pixels, scores, descriptors_at(dense, pixels))


def _peaks(heatmap: Tensor) -> Tensor:
    """Mask (H, W) of the maxima of squares of `PEAK_WINDOW` pixels."""
    if heatmap.is_cuda:
        largest = F.max_pool2d(heatmap[None, None], PEAK_WINDOW, 1, PEAK_WINDOW // 2)[0, 0]
    else:  # OpenCV needs a tenth of torch's time
        window = np.ones((PEAK_WINDOW, PEAK_WINDOW), np.uint8)
        largest = torch.from_numpy(np.asarray(cv2.dilate(heatmap.numpy(), window)))
    return heatmap == largest


def descriptors_at(dense: DenseFeatures, pixels: Tensor) -> Tensor:
    """Unit-length descriptors (N, 64) at pixels (N, 2) (u, v); the same as from `detect` at keypoints."""
    return F.normalize(_sample(dense.descriptors, pixels, "bicubic"), dim=1)


def _sample(cells: Tensor, pixels: Tensor, mode: str) -> Tensor:
    """Samples (N, C) of a map (C, h, w) at pixels (N, 2). The centre of cell i is at pixel 8 i + 3.5."""
    # -1 and 1 are the outer edges of the border pixels. Sizes stay numbers: a tensor of them would be copied.
    sides = cells.shape[2] * CELL, cells.shape[1] * CELL
    axes = [(2 * axis + 1) / side - 1 for axis, side in zip(pixels.unbind(1), sides, strict=True)]
    grid = torch.stack(axes, dim=1).to(cells.device)
    return F.grid_sample(cells[None], grid[None, None], mode, align_corners=False)[0, :, 0].T


def _prepared(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The channel mean, scaled to mean 0 and deviation 1, padded by repeating the last column and row."""
    if (
        image.dtype != np.uint8
        or image.ndim not in (2, 3)
        or image.shape[2:] not in ((), (3,))
        or not image.size
    ):
        raise InputError(f"image: {image.dtype} {image.shape}; give uint8 (H, W) or RGB (H, W, 3)")
    grey = image.astype(np.float32)
    if grey.ndim == 3:
        grey = np.asarray(cv2.transform(grey, np.full((1, 3), 1 / 3, np.float32)), np.float32)
    mean, deviation = (float(value.item()) for value in cv2.meanStdDev(grey))
    grey = (grey - np.float32(mean)) / np.float32(np.sqrt(deviation**2 + 1e-5))
    below, right = (-side % COARSEST for side in grey.shape)
    return np.asarray(cv2.copyMakeBorder(grey, 0, below, 0, right, cv2.BORDER_REPLICATE), np.float32)


def _prepared_there(image: Tensor) -> Tensor:
    """The same, on the image's device."""
    grey = image.float() if image.dim() == 2 else image.float().mean(dim=2)
    variance, mean = torch.var_mean(grey, correction=0)
    grey = (grey - mean) / (variance + 1e-5).sqrt()
    below, right = (-side % COARSEST for side in grey.shape)
    return F.pad(grey[None], (0, right, 0, below), mode="replicate")[0]
