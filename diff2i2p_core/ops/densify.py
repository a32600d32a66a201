"""Fill a sparse rendered depth map (after Ku et al., "In Defense of Classical Image Processing", CRV 2018).

Dilation, closing, hole filling and median only select among the given depths. They run without recording on
the ranks of the depths (nearest highest, empty 0), which are ordered like the depths. The rank that ends up
at a pixel identifies the sparse pixel that its depth came from. So depth = sparse[source] is a single gather,
and gradients flow to exactly the selected sparse pixels, whatever the filters did. The final Gaussian blur is
linear and is differentiated as usual. The selection itself, and empty pixels, pass no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diff2i2p_core.ops.backend import use_triton

RELEASED_MAX_DEPTH = 15.0
RELEASED_MIN_DEPTH = 0.1


def densify(depth: Tensor, *, dilation: int = 3, blur_sigma: float = 1.0, released: bool = False) -> Tensor:
    """Dense depth (B, H, W) from sparse depth, which is 0 where empty. Large regions without points stay
    empty.

    The steps are: dilation by the pixels within an L1 distance of `dilation` (use 0 if most pixels are filled
    already, because dilation enlarges near surfaces), 5x5 closing, 7x7 filling of holes, 5x5 median, 5x5
    Gaussian blur over the filled pixels. `released` follows the released code instead: an opening (3x3, 5x5,
    zero border) in place of the closing, a blur that mixes in empty pixels, and depths inverted about 15 m.
    It has no kernel. `depth` is not changed.
    """
    taps = _gaussian_taps(blur_sigma)
    if not released and depth.dtype == torch.float32 and use_triton(depth):
        from diff2i2p_core.ops.kernels.densify import Densify

        dense: Tensor = Densify.apply(depth, dilation, taps)  # type: ignore[no-untyped-call]
        return dense
    choice = _choose(depth, dilation, released)
    selected = depth.reshape(-1).index_select(0, choice.source).reshape(depth.shape)
    if released:
        inverted = torch.where(choice.filled, RELEASED_MAX_DEPTH - selected, 0.0)
        inverted = torch.where(choice.blurred, _blur(inverted, taps, "reflect"), inverted)
        return torch.where(inverted > RELEASED_MIN_DEPTH, RELEASED_MAX_DEPTH - inverted, inverted)
    weight = choice.filled.to(depth.dtype)
    scale = weight / _blur(weight, taps, "constant").clamp(min=1e-6)
    return _blur(selected * weight, taps, "constant") * scale


class _Choice(NamedTuple):
    source: Tensor
    """(B * H * W,) the sparse pixel that each pixel's depth comes from; arbitrary for empty pixels."""
    filled: Tensor
    """(B, H, W) whether the pixel is filled."""
    blurred: Tensor
    """(B, H, W) whether the released code blurs the pixel."""


@torch.no_grad()
def _choose(depth: Tensor, dilation: int, released: bool) -> _Choice:
    flat = depth.reshape(-1)
    filters: _Filters = _OpenCv() if depth.device.type == "cpu" else _Torch()
    used = (flat > (RELEASED_MIN_DEPTH if released else 0.0)).nonzero()[:, 0]
    values, order = flat.index_select(0, used).sort(descending=True, stable=True)
    source_of_rank = torch.cat([used.new_zeros(1), used[order]])
    ranks = torch.zeros(flat.shape, dtype=torch.float32, device=depth.device)
    ranks[source_of_rank[1:]] = torch.arange(1, len(used) + 1, dtype=torch.float32, device=depth.device)
    ranks = ranks.reshape(depth.shape)
    # In the released code, inverted depths below the threshold are filtered but count as empty.
    too_far = int((RELEASED_MAX_DEPTH - values < RELEASED_MIN_DEPTH).sum()) if released else 0
    if dilation > 0:
        ranks = filters.diamond(ranks, dilation)
    if released:
        ranks = filters.largest(filters.smallest(ranks, 3, zero_border=True), 5)
    else:
        ranks = filters.smallest(filters.largest(ranks, 5), 5)
    ranks = torch.where(ranks <= too_far, filters.largest(ranks, 7), ranks)
    ranks = filters.median(ranks, zero_border=released)
    return _Choice(source_of_rank.index_select(0, ranks.reshape(-1).long()), ranks > 0, ranks > too_far)


def _gaussian_taps(sigma: float) -> tuple[float, float, float]:
    """Weights of five pixels: of the middle one, of its neighbours and of the outermost ones."""
    middle, beside, outermost = (math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(3))
    total = middle + 2 * (beside + outermost)
    return middle / total, beside / total, outermost / total


def _blur(images: Tensor, taps: tuple[float, float, float], border: str) -> Tensor:
    """5x5 blur of (B, H, W), separately along each axis."""
    middle, beside, outermost = taps
    images = F.pad(images[:, None], (2, 2, 2, 2), mode=border)[:, 0]
    for axis in (1, 2):
        a, b, c, d, e = (images.narrow(axis, i, images.shape[axis] - 4) for i in range(5))
        images = (middle * c).add_(b, alpha=beside).add_(d, alpha=beside)
        images = images.add_(a, alpha=outermost).add_(e, alpha=outermost)
    return images


class _Filters(Protocol):
    """Rank filters of non-negative (B, H, W) float32 images. Pixels outside never win, unless stated."""

    def diamond(self, ranks: Tensor, radius: int) -> Tensor:
        """Maximum over the pixels within an L1 distance."""
        ...

    def largest(self, ranks: Tensor, size: int) -> Tensor: ...

    def smallest(self, ranks: Tensor, size: int, *, zero_border: bool = False) -> Tensor: ...

    def median(self, ranks: Tensor, *, zero_border: bool) -> Tensor:
        """5x5. The image is padded with zeros or with copies of its border."""
        ...


class _OpenCv:
    """For the CPU: OpenCV's filters are vectorised. Its 5x5 median is 50 times faster than a sort."""

    def diamond(self, ranks: Tensor, radius: int) -> Tensor:
        distance = np.abs(np.arange(-radius, radius + 1))
        kernel = (distance[:, None] + distance <= radius).astype(np.uint8)
        return _stacked(cv2.dilate(image, kernel) for image in ranks.numpy())

    def largest(self, ranks: Tensor, size: int) -> Tensor:
        return _stacked(cv2.dilate(image, np.ones((size, size), np.uint8)) for image in ranks.numpy())

    def smallest(self, ranks: Tensor, size: int, *, zero_border: bool = False) -> Tensor:
        kernel = np.ones((size, size), np.uint8)
        if zero_border:
            return _stacked(
                cv2.erode(image, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0.0)
                for image in ranks.numpy()
            )
        return _stacked(cv2.erode(image, kernel) for image in ranks.numpy())

    def median(self, ranks: Tensor, *, zero_border: bool) -> Tensor:
        if not zero_border:
            return _stacked(cv2.medianBlur(image, 5) for image in ranks.numpy())
        padded = F.pad(ranks, (2, 2, 2, 2)).numpy()
        return _stacked(cv2.medianBlur(image, 5)[2:-2, 2:-2] for image in padded)


class _Torch:
    """For any device."""

    def diamond(self, ranks: Tensor, radius: int) -> Tensor:
        for _ in range(radius):  # steps of radius 1
            x = ranks[:, None]
            across, along = F.max_pool2d(x, (1, 3), 1, (0, 1)), F.max_pool2d(x, (3, 1), 1, (1, 0))
            ranks = torch.maximum(across, along)[:, 0]
        return ranks

    def largest(self, ranks: Tensor, size: int) -> Tensor:
        x = F.max_pool2d(ranks[:, None], (1, size), 1, (0, size // 2))
        return F.max_pool2d(x, (size, 1), 1, (size // 2, 0))[:, 0]

    def smallest(self, ranks: Tensor, size: int, *, zero_border: bool = False) -> Tensor:
        if zero_border:
            margin = size // 2
            padded = self.smallest(F.pad(ranks, (margin,) * 4), size)
            return padded[:, margin:-margin, margin:-margin]
        return -self.largest(-ranks, size)

    def median(self, ranks: Tensor, *, zero_border: bool) -> Tensor:
        padded = F.pad(ranks[:, None], (2, 2, 2, 2), mode="constant" if zero_border else "replicate")
        windows = padded[:, 0].unfold(1, 5, 1).unfold(2, 5, 1)
        return windows.reshape(*ranks.shape, 25).median(-1).values


def _stacked(images: Iterable[Any]) -> Tensor:
    return torch.from_numpy(np.stack(list(images)))
