"""Tuning losses against known answers, in both modes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diff2i2p_core.losses.tuning import tuning_loss
from diff2i2p_core.models.config import FusionConfig, ImageConfig, Mode, ModelConfig, PointConfig
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.features import Correspondences, ImageFeatures, SubmapFeatures
from diff2i2p_core.models.tuning import CorrespondenceTuning

EMPTY = torch.zeros(0, dtype=torch.long)


def _model(mode: Mode) -> Diff2I2P:
    torch.manual_seed(0)
    model = Diff2I2P(
        ModelConfig(
            mode=mode,
            fine_dim=8,
            image=ImageConfig(channels=(8, 8), blocks=(1, 1)),
            points=PointConfig(voxel=0.1, levels=2, width=8, blocks=1, neighbor_limits=(4, 4)),
            fusion=FusionConfig(dim=16, heads=2, layers=2, octaves=2),
        )
    )
    assert model.tuning is not None
    torch.nn.init.normal_(model.tuning.net[-1].get_parameter("weight"), std=0.1)
    return model


def _scene(mode: Mode) -> tuple[ImageFeatures, SubmapFeatures]:
    generator = torch.Generator().manual_seed(1)
    fine = torch.randn(4, 8, generator=generator)
    none, yes = torch.zeros(0, 3), torch.ones(4, dtype=torch.bool)
    points = torch.tensor([[0.0, 0, 0], [1, 0, 2], [0, 4, 2], [1, 1, 2]])
    image = ImageFeatures(
        fine, (2, 2), yes, torch.rand(4, 2), none, (1, 1), yes[:1], none, yes[:1],
        points if mode == "rgbd" else None, torch.tensor([1.0, 4, 2]) if mode == "rgbd" else None,
    )  # fmt: skip
    cloud = torch.rand(5, 3, generator=generator)
    submap = SubmapFeatures(
        cloud, torch.randn(5, 8, generator=generator), none, none, none, yes[:0], EMPTY.view(0, 1)
    )
    return image, submap


def _matches(model: Diff2I2P, mode: Mode, rows: list[int], columns: list[int]) -> Correspondences:
    image, submap = _scene(mode)
    return model.correspondences(image, submap, torch.tensor(rows), torch.tensor(columns), EMPTY, EMPTY)


@pytest.mark.parametrize(("mode", "scale"), [("mono", [0.2, 0.2, 0.2]), ("rgbd", [1.0, 4.0, 2.0])])
def test_losses_by_hand(mode: Mode, scale: list[float]) -> None:
    model, (image, submap) = _model(mode), _scene(mode)
    matches = _matches(model, mode, [0, 2, 3], [1, 1, 4])
    assert matches.offsets is not None
    offsets = matches.offsets.detach().numpy()
    truth = np.random.default_rng(0).random((4, 3))
    known = np.array([False, True, True, True])

    moved = submap.points[[1, 1, 4]].numpy() + offsets * scale
    np.testing.assert_allclose(matches.points.detach(), moved, atol=1e-6)
    rows = torch.tensor([0, 2, 3])
    target = torch.from_numpy(truth).float()[rows]
    loss = tuning_loss(model, image, submap, matches, target, torch.from_numpy(known)[rows])
    assert loss.offset.item() == pytest.approx(np.linalg.norm(offsets, axis=1).mean(), rel=1e-5)
    residuals = np.linalg.norm((truth[[0, 2, 3]] - moved) / scale, axis=1)
    assert loss.residual.item() == pytest.approx(residuals[1:].mean(), rel=1e-5)
    before = np.linalg.norm((truth[[0, 2, 3]] - submap.points[[1, 1, 4]].numpy()) / scale, axis=1)
    assert loss.untuned.item() == pytest.approx(before[1:].mean(), rel=1e-5)
    every = tuning_loss(model, image, submap, matches, target, torch.ones(3, dtype=torch.bool))
    assert every.residual.item() == pytest.approx(residuals.mean(), rel=1e-5)


@pytest.mark.parametrize(("rows", "columns"), [([], []), ([0], [3])])
def test_nothing_to_compare_gives_zero_with_gradients(rows: list[int], columns: list[int]) -> None:
    model, (image, submap) = _model("rgbd"), _scene("rgbd")
    assert model.tuning is not None
    matches = model.correspondences(
        *_scene("rgbd"),
        torch.tensor(rows, dtype=torch.long),
        torch.tensor(columns, dtype=torch.long),
        EMPTY,
        EMPTY,
    )
    unknown = torch.full((len(rows), 3), torch.nan)
    loss = tuning_loss(model, image, submap, matches, unknown, torch.zeros(len(rows), dtype=torch.bool))
    assert loss.residual.item() == 0
    (loss.offset + loss.residual).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.tuning.parameters())


def test_tuning_never_moves_the_cloud() -> None:
    model, (image, submap) = _model("mono"), _scene("mono")
    before = submap.points.clone()
    model.correspondences(image, submap, torch.tensor([1, 1]), torch.tensor([2, 2]), EMPTY, EMPTY)
    assert torch.equal(submap.points, before)


def test_untrained_tuning_moves_nothing() -> None:
    net = CorrespondenceTuning(8, points=1)
    assert not net(torch.rand(3, 8), torch.rand(3, 8), torch.rand(3, 3)).any()


def test_tuning_learns_an_error_that_all_matches_share() -> None:
    model, (image, submap) = _model("mono"), _scene("mono")
    assert model.tuning is not None
    truth = submap.points[[0, 1, 2, 3]] + torch.tensor([0.1, 0, -0.05])
    optimizer = torch.optim.Adam(model.tuning.parameters(), lr=0.005)
    for _ in range(100):
        matches = _matches(model, "mono", [0, 1, 2, 3], [0, 1, 2, 3])
        loss = tuning_loss(model, image, submap, matches, truth, torch.ones(4, dtype=torch.bool))
        optimizer.zero_grad()
        (0.2 * loss.offset + 0.4 * loss.residual).backward()
        optimizer.step()
    assert loss.residual < 0.2 * loss.untuned
