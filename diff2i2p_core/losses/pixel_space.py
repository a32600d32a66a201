"""Images as latents without a VAE, for diffusion models in pixel space."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Exact(NamedTuple):
    """A posterior without spread, with the names of diffusers."""

    mean: Tensor
    std: Tensor


class PixelBlocks(nn.Module):
    """Takes the place of a VAE: each block of `factor` x `factor` pixels becomes one latent pixel, with all
    its values as channels. Nothing is lost, and the networks run at a resolution that they can afford."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.config = SimpleNamespace(scaling_factor=1.0)

    @property
    def channels(self) -> int:
        """Of the latents."""
        return 3 * self.factor**2

    def encode(self, images: Tensor) -> SimpleNamespace:
        """Images (B, 3, H, W) in [-1, 1] as `latent_dist` (B, C, H / factor, W / factor)."""
        latents = F.pixel_unshuffle(images, self.factor)
        return SimpleNamespace(latent_dist=Exact(latents, torch.zeros_like(latents)))
