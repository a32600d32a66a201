"""Confidence of matches: the pose loss teaches it which matches to trust."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diff2i2p_core.engine.ablation import variants
from diff2i2p_core.engine.config_file import load_config
from diff2i2p_core.engine.experiment import TrainConfig
from diff2i2p_core.engine.objective import Objective
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import exp, transform_points
from diff2i2p_core.losses.pose import estimate_poses, pose_terms
from diff2i2p_core.losses.settings import LossSettings, PoseSettings
from diff2i2p_core.models.confidence import MatchConfidence
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.features import Correspondences
from diff2i2p_core.pairs.pair import Batch
from diff2i2p_core.weights.checkpoint import load_model, save_model, start_from

CAMERA = Camera(320, 240, 260, 260, 159.5, 119.5)
DIM = 16


def scene(seed: int) -> tuple[Any, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A pair, and matches: pixels, points, features of both, and which are bad.

    A third of the pixels is off by up to 7 px, all to one side. Their features are as similar as the others',
    but one channel tells them apart.
    """
    rng = np.random.default_rng(seed)
    pose = exp(rng.normal(0, 0.1, 6))
    in_camera = np.stack([rng.uniform(-1, 1, 90), rng.uniform(-0.8, 0.8, 90), rng.uniform(2, 4, 90)], axis=1)
    pixels, _ = CAMERA.project(in_camera)
    bad = torch.from_numpy(rng.random(90) < 0.33)
    pixels[bad.numpy()] += rng.uniform(3, 7, (int(bad.sum()), 2))
    points = transform_points(np.linalg.inv(pose), in_camera)
    feature = torch.from_numpy(rng.normal(size=(90, DIM))).float()
    feature[:, 0] = torch.where(bad, 2.0, -2.0)
    feature = F.normalize(feature, dim=1)
    pair = SimpleNamespace(camera=CAMERA, camera_from_cloud=pose)
    return pair, torch.from_numpy(pixels).float(), torch.from_numpy(points).float(), feature, feature, bad


def matches_of(network: MatchConfidence, seed: int) -> tuple[Any, Correspondences, Tensor]:
    pair, pixels, points, image_fine, point_fine, bad = scene(seed)
    rows = torch.arange(len(pixels))
    scores = network(image_fine, point_fine)
    return pair, Correspondences(pixels, points, scores, rows, rows, rows[:0], rows[:0]), bad


def pose_loss(network: MatchConfidence, seeds: range) -> Tensor:
    pairs, matches, _ = zip(*(matches_of(network, seed) for seed in seeds), strict=True)
    terms = pose_terms(estimate_poses(pairs, matches, PoseSettings()))
    return terms["rotation"] + terms["translation"]


def test_the_pose_teaches_which_matches_to_trust() -> None:
    torch.manual_seed(0)
    network = MatchConfidence(DIM)
    _, untrained, bad = matches_of(network, 1000)
    torch.testing.assert_close(untrained.scores, torch.ones(90))  # the similarity, all alike
    before = float(pose_loss(network, range(1000, 1010)).detach())
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(40):
        optimizer.zero_grad()
        pose_loss(network, range(4 * step, 4 * step + 4)).backward()
        optimizer.step()
    _, matches, bad = matches_of(network, 1000)  # never seen
    scores = matches.scores.detach()
    assert scores[~bad].min() > scores[bad].max()
    assert float(pose_loss(network, range(1000, 1010)).detach()) < 0.3 * before


def confident(tiny_weights: Path, **changes: Any) -> Diff2I2P:
    config = load_model(tiny_weights).config.model_copy(update={"confidence": True, **changes})
    return Diff2I2P(config)


def last_layer(network: Diff2I2P) -> nn.Linear:
    assert network.confidence is not None
    layer = network.confidence.net[-1]
    assert isinstance(layer, nn.Linear)
    return layer


def test_weights_without_it_can_be_continued(tiny_weights: Path, tmp_path: Path, room_batch: Batch) -> None:
    plain, network = load_model(tiny_weights), confident(tiny_weights)
    start_from(network, tiny_weights)
    inputs = room_batch.images, room_batch.pyramid, room_batch.features
    with torch.no_grad():
        (expected, *_), (found, *_) = plain(*inputs), network.eval()(*inputs)
    assert torch.equal(found.pixel_indices, expected.pixel_indices)
    torch.testing.assert_close(found.scores, expected.scores)
    with torch.no_grad():
        last_layer(network).bias.fill_(0.25)
        (found, *_) = network(*inputs)
    torch.testing.assert_close(found.scores, expected.scores + 0.25)
    save_model(network, tmp_path / "own.safetensors")
    assert load_model(tmp_path / "own.safetensors").confidence is not None
    back = load_model(tiny_weights)
    start_from(back, tmp_path / "own.safetensors")  # which leaves it out
    assert all(torch.equal(a, b) for a, b in zip(back.parameters(), plain.parameters(), strict=True))


def test_only_the_pose_loss_trains_it(tiny_weights: Path, room_batch: Batch) -> None:
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        network = confident(tiny_weights)
        start_from(network, tiny_weights)
        pose = {"rotation_weight": weight, "translation_weight": weight, "gate_deg": None, "gate_m": None}
        objective = Objective(network, LossSettings.model_validate({"pose": pose}), seed=0).train()
        objective(room_batch, 1)["loss"].backward()
        gradient = last_layer(network).weight.grad
        moved = gradient is not None and bool(gradient.abs().max() > 0)
        assert moved == (weight > 0)


def test_it_needs_the_pose_loss_and_has_an_ablation(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(
        "steps: 1\nscenes: [{folder: x}]\nmodel: {replace: {confidence: true}}\n"
        "validation: {scenes: [{folder: x}]}\n"
    )
    assert "confidence" in variants(load_config(path))
    assert not variants(load_config(path))["confidence"].model.build().confidence
    assert variants(load_config(path))["all"].model.build().confidence
    plain = TrainConfig.model_validate({"steps": 1, "scenes": [{"folder": "x"}]})
    assert "confidence" not in variants(plain)
    for override in (
        "losses.pose={rotation_weight: 0, translation_weight: 0}",
        "losses.pose.score_temperature=null",
    ):
        with pytest.raises(InputError, match=r"model\.replace\.confidence: only the pose loss trains it"):
            load_config(path, [override])
