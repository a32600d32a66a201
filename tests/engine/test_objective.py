"""The objective as a whole, on a small network and two pairs of a room."""

from __future__ import annotations

import pytest
import torch

from diff2i2p_core.data.pair import Batch, collate
from diff2i2p_core.data.pairs import PairSettings, ScenePairs
from diff2i2p_core.data.rooms import camera_path, make_room, write_frames
from diff2i2p_core.data.scenes import load_scene
from diff2i2p_core.engine.objective import Objective
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.losses.settings import LossSettings
from diff2i2p_core.models.config import (
    FusionConfig,
    ImageConfig,
    MatchingConfig,
    ModelConfig,
    PointConfig,
    lite_config,
)
from diff2i2p_core.models.diff2i2p import Diff2I2P

CONFIG: ModelConfig = lite_config("rgb").model_copy(
    update={
        "fine_dim": 16,
        "tuning": True,
        "image": ImageConfig(
            color="rgb", height=120, channels=(8, 16, 16), blocks=(1, 1, 1), fine_stride=4, node_stride=8
        ),
        "points": PointConfig(voxel=0.1, levels=3, width=8, blocks=1, neighbor_limits=(12, 12, 12)),
        "fusion": FusionConfig(dim=32, heads=2, layers=2, octaves=4),
        "matching": MatchingConfig(fine_similarity=0.0, patch_points=48, patch_min_points=2),
    }
)
OFF = {"coarse": {"weight": 0}, "fine": {"weight": 0}, "tuning": {"offset_weight": 0, "residual_weight": 0}}


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    folder = tmp_path_factory.mktemp("room")
    room = make_room(3)
    write_frames(folder, room, Camera(160, 120, 131, 131, 79.5, 59.5), camera_path(room, 4, 3), noise=False)
    scene = load_scene(folder, 120, (0, 3), None)
    settings = PairSettings(other_frame=0, jitter_deg=1, jitter_m=0.02)
    pairs = ScenePairs([scene], [1.0], CONFIG, settings, seed=0, augment=False)
    return collate([pairs[0], pairs[1]])


def objective(**losses: object) -> Objective:
    torch.manual_seed(0)
    return Objective(Diff2I2P(CONFIG), LossSettings.model_validate(losses), seed=0)


def test_the_pose_alone_reaches_both_branches_and_tuning(batch: Batch) -> None:
    subject = objective(**OFF, pose={"gate_deg": None, "gate_m": None})
    losses = subject(batch, 1)
    assert losses["pose_used"] > 0
    assert losses["loss"].item() == pytest.approx((losses["rotation"] + losses["translation"]).item())
    losses["loss"].backward()
    model = subject.model
    assert model.tuning is not None
    for part in (model.image_backbone, model.point_backbone, model.tuning):
        gradients = [p.grad for p in part.parameters() if p.grad is not None]
        assert all(g.isfinite().all() for g in gradients)
        assert any(g.any() for g in gradients)


def test_the_pose_waits_for_its_epoch(batch: Batch) -> None:
    subject = objective(**OFF, pose={"start_epoch": 3})
    assert "rotation" not in subject(batch, 2)
    assert "rotation" in subject(batch, 3)
