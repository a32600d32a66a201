"""The objective as a whole, on a small network and two pairs of a room."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diff2i2p_core.engine.objective import Objective
from diff2i2p_core.losses.settings import LossSettings
from diff2i2p_core.models.config import MatchingConfig
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.pairs.pair import Batch
from diff2i2p_core.weights.checkpoint import load_model

OFF = {"coarse": {"weight": 0}, "fine": {"weight": 0}, "tuning": {"offset_weight": 0, "residual_weight": 0}}


def objective(weights: Path, **losses: object) -> Objective:
    matching = MatchingConfig(fine_similarity=0.0, patch_points=48, patch_min_points=2)
    config = load_model(weights).config.model_copy(update={"tuning": True, "matching": matching})
    torch.manual_seed(0)
    return Objective(Diff2I2P(config), LossSettings.model_validate(losses), seed=0)


def test_the_pose_alone_reaches_both_branches_and_tuning(tiny_weights: Path, room_batch: Batch) -> None:
    subject = objective(tiny_weights, **OFF, pose={"gate_deg": None, "gate_m": None})
    losses = subject(room_batch, 1)
    assert losses["pose_used"] > 0
    assert losses["loss"].item() == pytest.approx((losses["rotation"] + losses["translation"]).item())
    losses["loss"].backward()
    model = subject.model
    assert model.tuning is not None
    for part in (model.image_backbone, model.point_backbone, model.tuning):
        gradients = [p.grad for p in part.parameters() if p.grad is not None]
        assert all(g.isfinite().all() for g in gradients)
        assert any(g.any() for g in gradients)


def test_the_pose_waits_for_its_epoch(tiny_weights: Path, room_batch: Batch) -> None:
    subject = objective(tiny_weights, **OFF, pose={"start_epoch": 3})
    early = subject(room_batch, 2)
    assert "rotation" not in early and early["loss"].requires_grad
    assert "rotation" in subject(room_batch, 3)
