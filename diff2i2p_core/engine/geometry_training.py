"""Trains the geometry features: photos and renders of the same point get the same descriptor."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diff2i2p_core.engine.geometry_validation import Score, score_place
from diff2i2p_core.losses.matching_features import contrastive, reliability_loss
from diff2i2p_core.models.geometry_features import GeometryFeatures, described, sampled
from diff2i2p_core.models.xfeat import CELL
from diff2i2p_core.pairs.render_batches import Batch, draw_batch
from diff2i2p_core.pairs.render_pairs import Place

_RELIABILITY_WEIGHT = 0.2
_KEPT = 0.995
"""Of the moving average of the weights, per step."""


@dataclass(frozen=True)
class GeometryTraining:
    """Settings of one training."""

    steps: int = 4000
    pairs: int = 6
    samples: int = 200
    stem_rate: float = 1e-3
    shape_rate: float = 2e-4
    photo_rate: float = 5e-5
    """Learning rates of the small network before the trunk, of the trunk, and of the photos' network."""
    warm_up: int = 100
    validate_every: int = 500
    seed: int = 0


class GeometryTrainer:
    """Trains on `places`; `resume` continues from a checkpoint."""

    def __init__(
        self, model: GeometryFeatures, places: Sequence[Place], weights: Sequence[float], settings: GeometryTraining
    ) -> None:
        self.model, self.places, self.settings = model, list(places), settings
        model.to(memory_format=torch.channels_last)  # faster on a CPU
        self.weights = np.array(weights) / np.sum(weights)
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.step = 0
        self.optimizer = torch.optim.AdamW(
            [
                {"params": model.shapes.stem.parameters(), "lr": settings.stem_rate},
                {"params": model.shapes.trunk.parameters(), "lr": settings.shape_rate},
                {"params": model.photos.parameters(), "lr": settings.photo_rate},
            ],
            weight_decay=1e-3,
        )
        self._rates = [group["lr"] for group in self.optimizer.param_groups]

    def train_step(self) -> dict[str, float]:
        """One step; losses and shares of found points."""
        factor = _schedule(self.step, self.settings)
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        rng = np.random.default_rng([self.settings.seed, self.step])
        batch = draw_batch(self.places, self.weights, self.settings.pairs, self.settings.samples, rng)
        loss, values = _loss(self.model, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        kept = min(_KEPT, self.step / (self.step + 10))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, 1 - kept)
        return values

    def save(self, path: Path) -> None:
        torch.save(
            {
                "step": self.step,
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            },
            path,
        )

    def resume(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])


def _schedule(step: int, settings: GeometryTraining) -> float:
    """Linear warm-up, then constant, and a cosine to a twentieth in the last third."""
    if step < settings.warm_up:
        return (step + 1) / settings.warm_up
    done = min(max(3 * step / settings.steps - 2, 0), 1)
    return 0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2


def _loss(model: GeometryFeatures, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    batch = Batch(*(x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in batch))
    photo_map, photo_logits = described(model.photos, batch.photos)
    shape_map, shape_logits = model.shapes(batch.channels)
    photo, shape = sampled(photo_map, batch.photo_pixels), sampled(shape_map, batch.render_pixels)
    loss, of_photo, of_render = contrastive(photo, shape, batch.photo_pixels)
    reliability = reliability_loss(_logits_at(photo_logits, batch.photo_pixels), of_photo)
    reliability = reliability + reliability_loss(_logits_at(shape_logits, batch.render_pixels), of_render)
    values = {
        "loss": loss.item(),
        "reliability": reliability.item(),
        "found": of_photo.float().mean().item(),
    }
    return loss + _RELIABILITY_WEIGHT * reliability, values


def _logits_at(logits: Tensor, pixels: Tensor) -> Tensor:
    """(B, N) of the cells (B, 1, h, w) that hold the pixels (B, N, 2)."""
    column = (pixels[..., 0] / CELL).long().clamp(0, logits.shape[3] - 1)
    row = (pixels[..., 1] / CELL).long().clamp(0, logits.shape[2] - 1)
    return logits.flatten(1).gather(1, row * logits.shape[3] + column)
