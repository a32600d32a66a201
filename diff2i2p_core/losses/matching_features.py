"""The loss of geometry features: descriptors of the same point alike, all others different."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 0.06
_NEAR = 5.0
"""Pixels. Samples of one pair that are nearer than this are neither right nor wrong."""


def contrastive(photo: Tensor, render: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """InfoNCE in both directions, over the whole batch, of unit-length descriptors (B, N, 64) of the same
    points at `pixels` (B, N, 2) of the photos.

    Also which rows (B, N) of photos and of renders find their own point in their pair.
    """
    pairs, samples = photo.shape[:2]
    similarity = photo.flatten(0, 1) @ render.flatten(0, 1).T
    near = torch.zeros_like(similarity, dtype=torch.bool)
    for pair in range(pairs):
        rows = slice(pair * samples, (pair + 1) * samples)
        near[rows, rows] = torch.cdist(pixels[pair], pixels[pair]) < _NEAR
    own = torch.eye(len(similarity), dtype=torch.bool, device=near.device)
    logits = similarity.masked_fill(near & ~own, -1.0) / TEMPERATURE
    target = torch.arange(len(logits), device=logits.device)
    loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    with torch.no_grad():
        within = similarity.view(pairs, samples, pairs, samples).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        close = near.view(pairs, samples, pairs, samples).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        of_photo = close.gather(2, within.argmax(2, keepdim=True))[..., 0]
        of_render = close.gather(1, within.argmax(1, keepdim=True))[:, 0]
    return loss, of_photo, of_render


def localized(rows: Tensor, beside: Tensor) -> Tensor:
    """The loss of descriptors that do not say exactly where they are: `rows` (B, N, 2, 64) are those of the
    same point, and `beside` (B, N, K, 64) are from a few pixels beside the second one. InfoNCE."""
    candidates = torch.cat([rows[:, :, 1:], beside], dim=2)
    logits = (rows[:, :, :1] * candidates).sum(-1) / TEMPERATURE
    return F.cross_entropy(logits.flatten(0, 1), logits.new_zeros(logits[..., 0].numel(), dtype=torch.long))


def reliability_loss(logits: Tensor, found: Tensor) -> Tensor:
    """How well logits (B, N) predict whether a row finds its own point."""
    return F.binary_cross_entropy_with_logits(logits, found.to(logits.dtype))
