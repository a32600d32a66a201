"""Cross-modal fusion transformer (docs/method.md R10)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diff2i2p_core.models.config import FusionConfig


def fourier_embedding(x: Tensor, octaves: int) -> Tensor:
    """(..., C) to (..., C * (1 + 2 * octaves)): x, then for each k all sin(2^k x) and all cos(2^k x)."""
    parts = [x]
    for k in range(octaves):
        parts += [torch.sin(2**k * x), torch.cos(2**k * x)]
    return torch.cat(parts, dim=-1)


class FusionLayer(nn.Module):
    """Multi-head attention and a feed-forward network, each with a residual and a post-norm."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)
        self.attention_norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, 2 * dim)
        self.squeeze = nn.Linear(2 * dim, dim)
        self.output_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, memory: Tensor, memory_mask: Tensor | None = None) -> Tensor:
        """x (B, N, D) attends to memory (B, M, D); `memory_mask` (B, M) is True where memory is real."""

        def split(tokens: Tensor) -> Tensor:
            heads: Tensor = tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            return heads

        mask = None if memory_mask is None else memory_mask[:, None, None, :]
        attended = F.scaled_dot_product_attention(
            split(self.query(x)), split(self.key(memory)), split(self.value(memory)), attn_mask=mask
        )
        x = self.attention_norm(x + self.output(attended.transpose(1, 2).flatten(2)))
        fused: Tensor = self.output_norm(x + self.squeeze(F.relu(self.expand(x))))
        return fused


class FusionTransformer(nn.Module):
    """Self- and cross-attention between image tokens and superpoints. Both modalities share layer weights."""

    def __init__(self, config: FusionConfig, image_dim: int, point_dim: int) -> None:
        super().__init__()
        if config.layers % 2:
            raise ValueError("fusion.layers counts self- and cross-attention layers and must be even")
        self.octaves = config.octaves
        self.image_embedding = nn.Linear(2 * (1 + 2 * config.octaves), config.dim)
        self.point_embedding = nn.Linear(3 * (1 + 2 * config.octaves), config.dim)
        self.image_input = nn.Linear(image_dim, config.dim)
        self.point_input = nn.Linear(point_dim, config.dim)
        self.layers = nn.ModuleList(FusionLayer(config.dim, config.heads) for _ in range(config.layers))
        self.output = nn.Linear(config.dim, config.dim)

    def forward(
        self,
        image: Tensor,
        pixels: Tensor,
        points: Tensor,
        positions: Tensor,
        image_mask: Tensor | None = None,
        point_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Fuse the tokens.

        Args:
            image: (B, N, D) image tokens after `image_input`; (1, N, D) for one image with B clouds.
            pixels: (N, 2) their (row, column) in [0, 1].
            points: (B, M, D) superpoint tokens after `point_input`.
            positions: (B, M, 3) superpoints in metres, relative to their mean.
            image_mask, point_mask: (B, N), (B, M), True where a token is real; None if all are.
        """
        image = image + self.image_embedding(fourier_embedding(pixels, self.octaves))
        points = points + self.point_embedding(fourier_embedding(positions, self.octaves))
        for i, layer in enumerate(self.layers):
            if i % 2 == 0:
                image = layer(image, image, image_mask)
                points = layer(points, points, point_mask)
            else:
                image = image.expand(
                    len(points), -1, -1
                )  # only after the layers that are the same for all clouds
                image = layer(image, points, point_mask)
                points = layer(points, image, image_mask)
        return self.output(image), self.output(points)
