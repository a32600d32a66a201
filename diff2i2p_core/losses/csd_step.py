"""The inputs of one evaluation of CSD in any mode: prompts, random draws, masks."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

POSITIVE_PROMPT = "best quality, a photo of a room,furniture, household items"
NEGATIVE_PROMPT = "low-resolusion, bad anatomy, bad hands, cropped, worst quality"  # spelt as released


class CsdStep(NamedTuple):
    """For B images."""

    latents: Tensor
    noise: Tensor
    noisy: Tensor
    timestep: Tensor
    weight: Tensor
    """w(t) = 1 - alpha_cumprod(t), (B, 1, 1, 1)."""
    mask: Tensor
    positive: Tensor
    negative: Tensor
    guidance: float


def resized(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """(B, H, W) to (B, 1, *size), bilinear with antialiasing, like torchvision's resize."""
    return F.interpolate(images[:, None], size, mode="bilinear", align_corners=False, antialias=True)
