"""Trains the geometry features: photos and renders of the same point get the same descriptor."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from diff2i2p_core.engine.geometry_config import GeometryConfig
from diff2i2p_core.errors import InputError
from diff2i2p_core.losses.matching_features import contrastive, localized, reliability_loss
from diff2i2p_core.models.geometry_features import GeometryFeatures, sampled
from diff2i2p_core.models.xfeat import CELL
from diff2i2p_core.ops.backend import bfloat16_autocast
from diff2i2p_core.pairs.render_batches import Batch

_RELIABILITY_WEIGHT, _NEAR_WEIGHT = 0.2, 0.6
_BESIDE, _BESIDE_PX = 6, (3.0, 12.0)
"""Number of positions beside each sample that must look different, and how far away they are."""
_KEPT = 0.995
"""Of the moving average of the weights, per step."""


class GeometryTrainer:
    """Trains on the device of the model. A step depends only on the seed, its number, its batch and what came
    before."""

    def __init__(self, model: GeometryFeatures, settings: GeometryConfig) -> None:
        self.model, self.settings = model, settings
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.step = 0
        new = [
            *model.shapes.stem.parameters(),
            *model.shapes.features.detail.parameters(),
            *model.photos.detail.parameters(),
        ]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": new, "lr": settings.rates.new},
                {"params": model.shapes.features.trunk.parameters(), "lr": settings.rates.shapes},
                {"params": model.photos.trunk.parameters(), "lr": settings.rates.photos},
            ],
            weight_decay=1e-3,
            fused=model.device.type == "cuda" or None,
        )
        self._rates = [group["lr"] for group in self.optimizer.param_groups]

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One step; losses and shares of found points. InputError if a loss or its gradient is not finite."""
        factor = _schedule(self.step, self.settings)
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        torch.manual_seed((self.settings.seed << 32) + self.step)
        loss, values = _loss(self.model, batch, bf16=self.settings.precision == "bf16")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0))
        if not (math.isfinite(norm) and math.isfinite(loss.item())):
            raise InputError(
                f"not finite at step {self.step} (loss {loss.item():.4g}; gradient {norm:.4g}); nothing was "
                f"changed; use a lower learning rate, or precision=fp32"
            )
        self.optimizer.step()
        self.step += 1
        kept = min(_KEPT, self.step / (self.step + 10))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, 1 - kept)
        return values

    def state(self) -> dict[str, Any]:
        """For `load_state`."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])


def _schedule(step: int, settings: GeometryConfig) -> float:
    """Linear warm-up, then constant, and a cosine to a twentieth in the last third."""
    if step < settings.warm_up:
        return (step + 1) / settings.warm_up
    done = min(max(3 * step / settings.steps - 2, 0), 1)
    return 0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2


def _loss(model: GeometryFeatures, batch: Batch, *, bf16: bool) -> tuple[Tensor, dict[str, float]]:
    moved = (x.to(model.device, non_blocking=True) for x in batch)
    batch = Batch(*(x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in moved))
    with bfloat16_autocast(model.device.type, bf16):
        maps = (*model.photos(batch.photos), *model.shapes(batch.channels))
    photo_map, photo_logits, shape_map, shape_logits = (found.float() for found in maps)
    photo, shape = sampled(photo_map, batch.photo_pixels), sampled(shape_map, batch.render_pixels)
    loss, of_photo, of_render = contrastive(photo, shape, batch.photo_pixels)
    near = localized(torch.stack([shape, photo], 2), _beside(photo_map, batch.photo_pixels))
    near = near + localized(torch.stack([photo, shape], 2), _beside(shape_map, batch.render_pixels))
    reliability = reliability_loss(_logits_at(photo_logits, batch.photo_pixels), of_photo)
    reliability = reliability + reliability_loss(_logits_at(shape_logits, batch.render_pixels), of_render)
    values = {
        "loss": loss.item(),
        "near": near.item(),
        "reliability": reliability.item(),
        "found": of_photo.float().mean().item(),
    }
    return loss + _NEAR_WEIGHT * near + _RELIABILITY_WEIGHT * reliability, values


def _beside(descriptors: Tensor, pixels: Tensor) -> Tensor:
    """Descriptors (B, N, K, 64) at random positions beside the pixels (B, N, 2)."""
    shape = (*pixels.shape[:2], _BESIDE)
    angle = torch.rand(shape, device=pixels.device) * (2 * math.pi)
    radius = torch.empty(shape, device=pixels.device).uniform_(*_BESIDE_PX)
    moved = pixels[:, :, None] + torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
    found: Tensor = sampled(descriptors, moved.flatten(1, 2)).unflatten(1, shape[1:])
    return found


def _logits_at(logits: Tensor, pixels: Tensor) -> Tensor:
    """(B, N) of the cells (B, 1, h, w) that hold the pixels (B, N, 2)."""
    column = (pixels[..., 0] / CELL).long().clamp(0, logits.shape[3] - 1)
    row = (pixels[..., 1] / CELL).long().clamp(0, logits.shape[2] - 1)
    found: Tensor = logits.flatten(1).gather(1, row * logits.shape[3] + column)
    return found
