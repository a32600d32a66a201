"""CSD in the objective, with a diffusion model in miniature and matches near the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from diff2i2p_core.engine.ablation import RULES
from diff2i2p_core.engine.objective import Objective
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.losses.diffusion_prior import DiffusionPrior
from diff2i2p_core.losses.settings import LossSettings
from diff2i2p_core.models import diff2i2p
from diff2i2p_core.models.features import ImageFeatures, SubmapFeatures
from diff2i2p_core.pairs.pair import Batch, Pair
from diff2i2p_core.weights.checkpoint import load_model

OFF = {
    "coarse": {"weight": 0},
    "fine": {"weight": 0},
    "tuning": {"offset_weight": 0, "residual_weight": 0},
    "pose": {"rotation_weight": 0, "translation_weight": 0},
}
RELEASED_POSE = RULES["pose"].overrides["losses"]["pose"]
Make = Callable[..., Objective]


@pytest.fixture
def make(tiny_weights: Path, model_folder: Path, room_batch: Batch, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes objectives with only CSD (weight 1), whose network gives the true matches with DCT's offsets."""

    def true_rows(image: ImageFeatures, submap: SubmapFeatures, *_: Any) -> tuple[Tensor, Tensor]:
        pair = next(p for p in room_batch.pairs if len(p.features) == len(submap.points))
        return _visible(pair, submap, image.fine_size)

    monkeypatch.setattr(diff2i2p, "match_patches", true_rows)

    def objective(seed: int = 0, csd: dict[str, Any] | None = None, **losses: Any) -> Objective:
        folders = {"base": str(model_folder / "base"), "controlnet": str(model_folder / "controlnet")}
        settings = {"weight": 1, "start_epoch": 1, "dtype": "fp32", **folders, **(csd or {})}
        torch.manual_seed(0)
        config = load_model(tiny_weights).config.model_copy(update={"tuning": True})
        model = diff2i2p.Diff2I2P(config)
        assert model.tuning is not None
        for parameter in model.tuning.parameters():  # it starts as the identity, which hides gradients
            torch.nn.init.normal_(parameter, std=0.03)
        return Objective(model, LossSettings.model_validate({**OFF, "csd": settings, **losses}), seed=seed)

    return objective


def _visible(pair: Pair, submap: SubmapFeatures, fine_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Fine pixels and the points that fall into them."""
    camera = pair.camera
    pixels, z = camera.project(transform_points(pair.camera_from_cloud, submap.points.numpy()))
    inside = (z > 0.1) & (pixels >= 0).all(1) & (pixels < (camera.width - 1, camera.height - 1)).all(1)
    columns = np.flatnonzero(inside)[::7]
    u, v = (pixels[columns].T / (camera.width / fine_size[1])).astype(int)
    return torch.from_numpy(v * fine_size[1] + u), torch.from_numpy(columns)


@pytest.mark.parametrize("mode", ["control", "released"])
def test_the_term_reaches_tuning_and_repeats(make: Make, room_batch: Batch, mode: str) -> None:
    values = []
    for seed in (0, 0, 1):
        subject = make(seed, csd={"mode": mode})
        losses = subject(room_batch, 1)
        assert losses["csd_used"] == 1
        assert losses["loss"] == losses["csd"]
        assert losses["loss"].isfinite()
        values.append(losses["loss"].item())
        again = subject(room_batch, 1)["loss"].item()
        assert again == values[-1]
    assert values[0] == values[1] != values[2]
    losses["loss"].backward()
    tuning = subject.model.tuning
    assert tuning is not None
    for parameter in tuning.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.grad.any()


def test_the_prior_is_loaded_when_it_is_used_and_stays_outside_the_network(
    make: Make, room_batch: Batch
) -> None:
    subject = make(csd={"start_epoch": 3})
    distillation = subject.registration.distillation
    assert distillation is not None
    subject(room_batch, 2)
    assert distillation._prior is None
    subject(room_batch, 3)["loss"].backward()
    prior = distillation._prior
    assert prior is not None
    assert prior is distillation.prior(torch.device("cpu"))
    for module in (prior.unet, prior.controlnet, prior.vae, prior.text_encoder):
        assert all(p.grad is None and not p.requires_grad for p in module.parameters())
    names = {f"model.{name}" for name in subject.model.state_dict()}
    assert set(subject.state_dict()) == names
    assert len(list(subject.parameters())) == len(list(subject.model.parameters()))


def test_latents_of_unaltered_images_are_kept(make: Make, room_batch: Batch) -> None:
    subject = make()
    subject(room_batch, 1)
    assert subject.registration.distillation is not None
    prior = subject.registration.distillation.prior(torch.device("cpu"))
    assert set(prior._posteriors) == {pair.image_key for pair in room_batch.pairs}
    altered = replace(room_batch, pairs=[replace(pair, image_key=None) for pair in room_batch.pairs])
    prior._posteriors.clear()
    subject(altered, 1)
    assert not prior._posteriors


def test_a_batch_is_the_mean_of_its_pairs(make: Make, room_batch: Batch) -> None:
    subject = make()
    whole = subject(room_batch, 1)["loss"].item()
    model = subject.model
    images = model.encode_image(room_batch.images)
    submaps = model.encode_cloud(room_batch.pyramid, room_batch.features)
    parts = [
        subject.registration([pair], [submap], [model.match(image, submap)], 1)["loss"].item()
        for pair, image, submap in zip(room_batch.pairs, images, submaps, strict=True)
    ]
    assert np.mean(parts) == pytest.approx(whole, rel=1e-4)


def test_pairs_that_hardly_see_their_cloud_count_zero(make: Make, room_batch: Batch) -> None:
    subject = make(csd={"min_visible": 1.0})
    losses = subject(room_batch, 1)
    assert losses["csd_used"] == losses["loss"] == 0
    losses["loss"].backward()
    assert subject.model.tuning is not None
    assert all(p.grad is not None and not p.grad.any() for p in subject.model.tuning.parameters())


def test_the_released_rules_run(make: Make, room_batch: Batch) -> None:
    released = {"mode": "released", "weight": 0.001, "deformed_points": True}
    subject = make(csd=released, pose=RELEASED_POSE, coarse={"weight": 1}, fine={"weight": 1})
    losses = subject(room_batch, 1)
    assert all(value.isfinite() for value in losses.values())
    assert losses["pose_m"] > 0.3  # docs/method.md R21
    losses["loss"].backward()
    assert all(p.grad.isfinite().all() for p in subject.parameters() if p.grad is not None)


def test_steps_are_drawn_from_their_range(
    make: Make, room_batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    noised = DiffusionPrior.noised

    def watched(self: DiffusionPrior, latents: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        seen.extend(timestep.tolist())
        return noised(self, latents, noise, timestep)

    monkeypatch.setattr(DiffusionPrior, "noised", watched)
    for timesteps, allowed in (((400, 400), {400}), ((7, 9), {7, 8, 9})):
        seen.clear()
        make(csd={"timesteps": timesteps})(room_batch, 1)
        assert len(seen) == len(room_batch.pairs) and set(seen) <= allowed


@pytest.mark.parametrize(
    "option",
    [
        {"timesteps": [900, 900]},
        {"prompts": ["a cave", "a room"]},
        {"guidance": 3},
        {"render_scale": 0.5},
        {"render_gamma": 0.5},
        {"dtype": "bf16"},
        {"weight": 2},
    ],
    ids=lambda option: next(iter(option)),
)
def test_each_option_changes_the_term(make: Make, room_batch: Batch, option: dict[str, Any]) -> None:
    plain, changed = (make(csd=csd)(room_batch, 1)["loss"] for csd in (None, option))
    assert changed.isfinite() and changed != plain


def test_checkpointing_is_chosen(make: Make) -> None:
    for chosen in (True, False):
        distillation = make(csd={"checkpointing": chosen}).registration.distillation
        assert distillation is not None
        unet = distillation.prior(torch.device("cpu")).unet
        assert unet.is_gradient_checkpointing == chosen


def test_pictures_show_both_poses(make: Make, room_batch: Batch) -> None:
    subject = make()
    model, pair = subject.model, room_batch.pairs[0]
    submap = model.encode_cloud(room_batch.pyramid, room_batch.features)[0]
    matches = model.match(model.encode_image(room_batch.images)[0], submap)
    rendered = subject.registration.rendered_depths(pair, submap, matches)
    assert rendered.estimated.depth.shape == rendered.truth.depth.shape == (1, 30, 40)
    both = (rendered.estimated.depth > 0) & (rendered.truth.depth > 0)
    assert both.float().mean() > 0.8
    assert (rendered.estimated.depth - rendered.truth.depth)[both].abs().median() < 0.1
    assert not rendered.estimated.depth.requires_grad
    double = make(csd={"render_scale": 0.5}).registration.rendered_depths(pair, submap, matches)
    assert double.truth.depth.shape == (1, 60, 80)


def test_missing_models_are_named_when_the_objective_is_made(make: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"base=.*nowhere.*hf download stable-diffusion-v1-5/"):
        make(csd={"base": str(tmp_path / "nowhere"), "start_epoch": 31})
