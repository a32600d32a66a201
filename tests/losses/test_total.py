"""The matching objective of a pair: its draws, its terms and the released rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from diff2i2p_core.engine.objective import Objective
from diff2i2p_core.errors import InputError
from diff2i2p_core.losses.fine import DrawnPairs
from diff2i2p_core.losses.kinds import COARSE_LOSSES, FINE_LOSSES
from diff2i2p_core.losses.settings import CoarseSettings, FineSettings, LossSettings
from diff2i2p_core.losses.total import draw_correspondences, needs_matches, pair_loss
from diff2i2p_core.models.config import MatchingConfig
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.pairs.pair import Batch
from diff2i2p_core.pairs.targets import NodeOverlaps
from diff2i2p_core.weights.checkpoint import load_model

NO_POSE = {"rotation_weight": 0, "translation_weight": 0}
CONTRASTIVE = {"coarse": {"kind": "contrastive"}, "fine": {"kind": "contrastive"}}


def network(weights: Path, fine_top_k: int = 1) -> Diff2I2P:
    matching = MatchingConfig(fine_similarity=0.0, patch_points=48, patch_min_points=2, fine_top_k=fine_top_k)
    torch.manual_seed(0)
    config = load_model(weights).config
    return Diff2I2P(config.model_copy(update={"tuning": True, "matching": matching}))


def losses_of_first(model: Diff2I2P, batch: Batch, **settings: Any) -> dict[str, Tensor]:
    with torch.no_grad():
        image = model.encode_image(batch.images)[0]
        submap = model.encode_cloud(batch.pyramid, batch.features)[0]
        nodes = model.fuse(image, submap)
        matches = model.match(image, submap, nodes)
        chosen = LossSettings.model_validate(settings)
        return pair_loss(model, batch.pairs[0], image, submap, nodes, matches, chosen, 0)


def test_draws_are_true_correspondences_without_repetition(room_batch: Batch) -> None:
    targets = room_batch.pairs[0].targets
    true = set(zip(targets.pixel_indices.tolist(), targets.point_indices.tolist(), strict=True))
    assert len(true) > 50
    for count in (20, 10_000):
        pixels, points = draw_correspondences(targets, count, np.random.default_rng(0))
        drawn = set(zip(pixels.tolist(), points.tolist(), strict=True))
        assert drawn <= true and len(drawn) == len(pixels) == min(count, len(true))


def test_the_loss_is_the_weighted_sum(tiny_weights: Path, room_batch: Batch) -> None:
    losses = losses_of_first(
        network(tiny_weights),
        room_batch,
        coarse={"weight": 2, "multi_scale": 0.25},
        fine={"weight": 3},
        tuning={"offset_weight": 4, "residual_weight": 5},
    )
    value = {name: loss.item() for name, loss in losses.items()}
    expected = 2 * (value["coarse"] + 0.25 * value["multi_scale"]) + 3 * value["fine"]
    expected += 4 * value["offset"] + 5 * value["residual"]
    assert value["loss"] == pytest.approx(expected, rel=1e-5)


def test_matches_are_only_made_where_a_term_needs_them(tiny_weights: Path) -> None:
    off = {"offset_weight": 0, "residual_weight": 0}
    model, plain = network(tiny_weights), load_model(tiny_weights)
    assert needs_matches(model, LossSettings())
    assert not needs_matches(plain, LossSettings())
    assert not needs_matches(model, LossSettings.model_validate({"tuning": off}))
    moved = LossSettings.model_validate({"tuning": off, "fine": {"deformed_points": True}})
    assert needs_matches(model, moved)
    unused = {"weight": 0, "deformed_points": True}
    assert not needs_matches(model, LossSettings.model_validate({"tuning": off, "fine": unused}))


def test_a_loss_of_weight_zero_is_left_out(
    tiny_weights: Path, room_batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"coarse": {"multi_scale": 0}, "tuning": {"offset_weight": 0, "residual_weight": 0}}
    losses = losses_of_first(network(tiny_weights), room_batch, **settings)
    assert set(losses) == {"loss", "coarse", "fine"}
    assert losses["loss"] == losses["coarse"] + losses["fine"]

    def never(*_: object) -> Tensor:
        raise AssertionError("a loss of weight 0 was computed")

    for name in ("coarse_loss", "fine_loss", "draw_correspondences"):
        monkeypatch.setattr(f"diff2i2p_core.losses.total.{name}", never)
    settings |= {"coarse": {"weight": 0}, "fine": {"weight": 0}}
    losses = losses_of_first(network(tiny_weights), room_batch, **settings)
    assert set(losses) == {"loss"} and losses["loss"] == 0


def test_released_fine_loss_measures_from_moved_points(tiny_weights: Path, room_batch: Batch) -> None:
    model = network(tiny_weights)

    def fine(deformed: bool) -> float:
        return losses_of_first(model, room_batch, fine={"deformed_points": deformed})["fine"].item()

    before = fine(False)
    assert fine(True) == before  # untrained tuning moves nothing
    assert model.tuning is not None
    torch.nn.init.constant_(model.tuning.net[-1].get_parameter("bias"), 5.0)
    assert fine(False) == before
    assert fine(True) != before


def test_released_coarse_loss_has_more_negatives(tiny_weights: Path, room_batch: Batch) -> None:
    model = network(tiny_weights)
    plain = losses_of_first(model, room_batch)["coarse"]
    for rule in ({"unknown_nodes": "negative"}, {"negatives": "smaller"}):
        assert losses_of_first(model, room_batch, coarse=rule)["coarse"] > plain


def test_depthless_pixels_count_in_the_released_residual(tiny_weights: Path, room_batch: Batch) -> None:
    """With the camera's position as their point, far from every surface (docs/method.md R20)."""
    model = network(tiny_weights)
    pair = room_batch.pairs[0]
    points = pair.targets.pixel_points.copy()
    points[::2] = 0
    half = replace(pair, targets=replace(pair.targets, pixel_points=points))
    batch = replace(room_batch, pairs=[half])

    def untuned(released: bool) -> float:
        return losses_of_first(model, batch, tuning={"depthless_pixels": released})["untuned"].item()

    assert untuned(True) > 1.05 * untuned(False)


def test_temperatures_sharpen_the_contrastive_losses(tiny_weights: Path, room_batch: Batch) -> None:
    """With a high one all similarities look alike, so the loss is the logarithm of their number."""
    model = network(tiny_weights)
    for part in ("coarse", "fine"):
        hot, warm = (
            losses_of_first(model, room_batch, **{part: {"kind": "contrastive", "temperature": t}})[part]
            for t in (1e4, 0.1)
        )
        assert hot > 1 and not torch.isclose(hot, warm, rtol=1e-3)


def test_more_samples_are_compared(
    tiny_weights: Path, room_batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    draw = draw_correspondences

    def counted(*arguments: Any) -> Any:
        drawn = draw(*arguments)
        counts.append(len(drawn[0]))
        return drawn

    monkeypatch.setattr("diff2i2p_core.losses.total.draw_correspondences", counted)
    for samples in (8, 24):
        losses_of_first(network(tiny_weights), room_batch, fine={"samples": samples})
    assert counts == [8, 24]


def test_training_matches_best_pixels_alone(tiny_weights: Path, room_batch: Batch) -> None:
    model = network(tiny_weights, fine_top_k=2)
    image = model.encode_image(room_batch.images)[0]
    submap = model.encode_cloud(room_batch.pyramid, room_batch.features)[0]
    best = len(model.train().match(image, submap))
    assert best == len(network(tiny_weights).match(image, submap, model.fuse(image, submap)))
    assert best < len(model.eval().match(image, submap))


def test_a_network_without_depth_learns_to_match_and_tune(tiny_weights: Path, room_batch: Batch) -> None:
    model = network(tiny_weights)
    settings = LossSettings.model_validate({**CONTRASTIVE, "pose": NO_POSE})
    objective = Objective(model, settings, seed=0).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    residuals = []
    for _ in range(10):
        losses = objective(room_batch, 1)
        residuals.append(losses["residual"].item())
        optimizer.zero_grad()
        losses["loss"].backward()
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step()
    assert residuals[-1] < 0.5 * residuals[0]


def test_a_custom_loss_is_a_line_in_the_table(
    tiny_weights: Path, room_batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cosine(
        image: Tensor, points: Tensor, used: Tensor, overlaps: NodeOverlaps, _: CoarseSettings
    ) -> Tensor:
        rows, columns = (torch.as_tensor(part) for part in (overlaps.image_nodes, overlaps.point_nodes))
        return (1 - (image[rows] * points[columns]).sum(1))[used[rows, columns]].mean()

    def distance(drawn: DrawnPairs, _: FineSettings) -> Tensor:
        loss: Tensor = (drawn.pixel_features - drawn.point_features).norm(dim=1).mean()
        return loss

    monkeypatch.setitem(COARSE_LOSSES, "cosine", cosine)
    monkeypatch.setitem(FINE_LOSSES, "distance", distance)
    settings = {"coarse": {"kind": "cosine"}, "fine": {"kind": "distance"}}
    losses = losses_of_first(network(tiny_weights), room_batch, **settings)
    assert 0 < losses["coarse"] < 2 and 0 < losses["fine"] < 2
    with pytest.raises(InputError, match=r"'hinge' is unknown; use one of circle, contrastive, cosine"):
        losses_of_first(network(tiny_weights), room_batch, coarse={"kind": "hinge"})
