"""A small diffusion prior: trained, resumed, measured, and used by CSD as Stable Diffusion is."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from four_views import write_four_views
from tiny_prior import write_tiny_prior

from diff2i2p_core.engine import prior_gradient
from diff2i2p_core.engine.prior_config import PriorConfig
from diff2i2p_core.engine.prior_frames import HEIGHT, PriorFrames, seen_depth
from diff2i2p_core.engine.prior_gradient import gradient_table, pose_gradients
from diff2i2p_core.engine.prior_report import MOVES, RIGHT, TIMESTEPS, denoising_errors, table
from diff2i2p_core.engine.prior_trainer import PriorTrainer
from diff2i2p_core.engine.signals import Stopped
from diff2i2p_core.engine.training_pairs import load_scenes
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import compose
from diff2i2p_core.losses import csd, distillation
from diff2i2p_core.losses.csd import csd_loss
from diff2i2p_core.losses.diffusion_prior import DiffusionPrior
from diff2i2p_core.losses.distillation import Distillation
from diff2i2p_core.losses.settings import CsdSettings
from diff2i2p_core.pairs.scenes import Scene

pytest.importorskip("diffusers", reason="needs the [train] extra")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("room")
    write_four_views(folder)
    return folder


def experiment(room: Path, output: Path, **changes: Any) -> PriorConfig:
    values = {
        "steps": 4,
        "batch_size": 2,
        "save_every": 2,
        "log_every": 1,
        "measured_frames": 3,
        "networks": {"size": 16, "channels": [8, 16]},
        "optimizer": {"lr": 2e-3, "warmup": 1},
        "scenes": [{"folder": room}],
        "unseen": [{"folder": room}],
        "cache": None,
        "output": output,
    }
    return PriorConfig.model_validate({**values, **changes})


@pytest.fixture(scope="module")
def trained(room: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a prior after four steps."""
    return PriorTrainer(experiment(room, tmp_path_factory.mktemp("runs"))).run()


@pytest.fixture(scope="module")
def scenes(room: Path) -> list[Scene]:
    return load_scenes(experiment(room, Path()).scenes, HEIGHT, None)[0]


@pytest.mark.parametrize("mode", ["control", "released"])
def test_csd_takes_it_and_gives_gradients(trained: Path, mode: str) -> None:
    settings = CsdSettings(weight=1, model=str(trained), mode=mode, dtype="fp32")  # type: ignore[arg-type]
    prior = Distillation(settings, 0).prior(torch.device("cpu"))
    assert prior.image_size == 16 and not any(p.requires_grad for p in prior.unet.parameters())
    latents = prior.latents(torch.rand(1, 3, 120, 160))
    assert latents.shape == (1, 12, 8, 8)
    depth = (1 + torch.rand(1, 30, 40)).requires_grad_()
    loss = csd_loss(prior, depth, depth.detach(), latents, mode=mode, generator=torch.Generator())
    (gradient,) = torch.autograd.grad(loss, depth)
    assert gradient.isfinite().all() and gradient.abs().max() > 0


def test_its_latents_are_the_pixels(trained: Path) -> None:
    prior = DiffusionPrior.load(str(trained), str(trained / "controlnet"))
    image = torch.rand(1, 3, 16, 16)
    latents = prior.latents(image)
    assert torch.equal(latents, prior.latents(image))  # no spread to draw from
    torch.testing.assert_close(F.pixel_shuffle(latents, 2), 2 * image - 1)


def test_prompts_do_not_matter(trained: Path) -> None:
    prior = DiffusionPrior.load(str(trained), str(trained / "controlnet"))
    assert torch.equal(prior.text("a room"), prior.text("a forest"))


def test_a_model_without_vae_must_be_in_pixel_space(trained: Path, tmp_path: Path) -> None:
    latent = write_tiny_prior(tmp_path)
    for part in ("vae", "text_encoder", "tokenizer"):
        shutil.rmtree(latent / "base" / part)
    with pytest.raises(
        InputError, match="base: has no vae and no text_encoder, but its unet is not in pixel"
    ):
        DiffusionPrior.load(str(latent / "base"), str(latent / "controlnet"))
    (latent / "base" / "vae").mkdir()
    with pytest.raises(InputError, match=r"base=.*vae/config\.json is missing.*diff2i2p prior train"):
        DiffusionPrior.load(str(latent / "base"), str(latent / "controlnet"))
    half = shutil.copytree(trained, tmp_path / "half")
    shutil.rmtree(half / "controlnet")
    with pytest.raises(InputError, match=r"controlnet='.*half/controlnet': no such folder"):
        Distillation(CsdSettings(weight=1, model=str(half)), 0)


def test_a_resumed_run_equals_the_uninterrupted_one(room: Path, trained: Path, tmp_path: Path) -> None:
    class Signalled(PriorTrainer):
        def train_step(self, batch: Any) -> dict[str, float]:
            if self.step == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().train_step(batch)

    config = experiment(room, tmp_path)
    with pytest.raises(Stopped, match="stopped by SIGTERM after step 3 of 4") as stopped:
        Signalled(config).run()
    assert stopped.value.status == 143
    with pytest.raises(InputError, match="already holds a run"):
        PriorTrainer(config).run()
    resumed = PriorTrainer(config).run(resume=True)
    for part in ("unet", "controlnet"):
        file = f"{part}/diffusion_pytorch_model.safetensors"
        assert (resumed / file).read_bytes() == (trained / file).read_bytes(), part
    steps = [json.loads(line)["step"] for line in (tmp_path / "prior/log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]
    other = experiment(room, tmp_path, networks={"size": 16, "channels": [16, 16]})
    with pytest.raises(InputError, match="from other networks"):
        PriorTrainer(other).run(resume=True)


def test_training_lowers_the_error(room: Path, tmp_path: Path) -> None:
    config = experiment(room, tmp_path, steps=60, batch_size=4, optimizer={"lr": 4e-3, "warmup": 5})
    trainer = PriorTrainer(config)
    batch = PriorFrames(load_scenes(config.scenes, HEIGHT, None)[0], [1.0], 16, 99).batch(0, 32)
    before = trainer.loss(batch).item()
    trainer.run()
    trainer.step = 0  # the same noise and steps
    assert trainer.loss(batch).item() < 0.7 * before


def test_depth_has_a_say_from_the_first_step(room: Path, tmp_path: Path) -> None:
    """A ControlNet of zeros would take hundreds of steps to begin."""
    trainer = PriorTrainer(experiment(room, tmp_path))
    images, noise = torch.rand(1, 3, 16, 16), torch.randn(1, 12, 8, 8)
    at = torch.tensor([500])
    near, far = (trainer.networks(images, torch.full((1, 3, 16, 16), d), at, noise)[0] for d in (0.9, 0.1))
    assert (near - far).abs().mean() > 1e-3


class Recorded(torch.nn.Module):
    """Networks that predict nothing and remember their inputs."""

    def __init__(self, trainer: PriorTrainer) -> None:
        super().__init__()
        self.latents = trainer.networks.latents
        self.timesteps: list[int] = []
        self.controls: list[torch.Tensor] = []

    def forward(self, images: Any, control: Any, timestep: Any, noise: Any) -> tuple[Any, Any]:
        self.timesteps += timestep.tolist()
        self.controls += list(control)
        return noise, noise


def test_steps_and_fraction_without_depth_are_as_set(room: Path, tmp_path: Path) -> None:
    trainer = PriorTrainer(experiment(room, tmp_path, timesteps=[300, 400], uncontrolled=0.4))
    frames = PriorFrames(load_scenes(trainer.config.scenes, HEIGHT, None)[0], [1.0], 16, 0)
    batch = frames.batch(0, 50)
    recorded = Recorded(trainer)
    trainer.networks = recorded  # type: ignore[assignment]
    for trainer.step in range(4):
        trainer.loss(batch)
    assert 300 <= min(recorded.timesteps) < 310 and 390 < max(recorded.timesteps) <= 400
    without = sum(bool((control == -1).all()) for control in recorded.controls)
    assert 0.3 < without / 200 < 0.5


def test_the_prior_has_the_average_of_the_weights(room: Path, trained: Path, tmp_path: Path) -> None:
    """Without averaging it has the last ones. The run itself continues with the last ones in both cases."""
    last = PriorTrainer(experiment(room, tmp_path / "last", average=0)).run()
    file = "unet/diffusion_pytorch_model.safetensors"
    assert (last / file).read_bytes() != (trained / file).read_bytes()
    states = [torch.load(path.parent / "checkpoint.pt", weights_only=True) for path in (trained, last)]
    for name, weight in states[0]["networks"].items():
        assert torch.equal(weight, states[1]["networks"][name]), name


def test_examples_differ_and_repeat(scenes: list[Scene]) -> None:
    frames = PriorFrames(scenes, [1.0], 16, seed=3)
    batch = frames.batch(5, 3)
    assert batch.image.shape == batch.control.shape == (3, 3, 16, 16)
    assert torch.equal(batch.image[1], frames[6].image)
    assert not torch.equal(batch.image[0], batch.image[1])
    assert 0 <= float(batch.control.min()) < float(batch.control.max()) <= 1


def test_a_camera_that_moved_away_sees_more_distance(scenes: list[Scene]) -> None:
    still = seen_depth(scenes[0], 0)
    back = seen_depth(scenes[0], 0, compose(np.eye(3), [0, 0, 0.4]))
    both = (still > 0) & (back > 0)
    assert both.mean() > 0.5
    # Less than the move where the same pixel now shows another part of a floor.
    assert 0.25 < np.median((back - still)[both]) < 0.42


def test_errors_show_which_depth_the_networks_expect(
    trained: Path, scenes: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With networks that predict the noise as well as the control image is like the image's own depth."""
    prior = DiffusionPrior.load(str(trained), str(trained / "controlnet"))
    truths = [seen_depth(scenes[0], index) for index in range(len(scenes[0]))]

    def residuals(noisy: Any, timestep: Any, text: Any, control: torch.Tensor) -> list[torch.Tensor]:
        from diff2i2p_core.engine.prior_frames import condition

        off = [(control[0] - condition(truth, truth, 16)).abs().mean() for truth in truths]
        return [torch.stack(off).min()]

    seen: list[torch.Tensor] = []

    def predicted(noisy: Any, timestep: Any, text: Any, residuals: Any = None) -> torch.Tensor:
        alpha = prior.alphas_cumprod[timestep].float()
        latents = prior.latents(seen[-1][None])
        noise = (noisy - alpha.sqrt() * latents) / (1 - alpha).sqrt()
        offset: torch.Tensor | float = 1.0 if residuals is None else residuals[0]
        return torch.as_tensor(noise + offset)

    original = prior.latents

    def latents(images: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(images[0])
        return original(images, *rest)

    monkeypatch.setattr(prior, "latents", latents)
    monkeypatch.setattr(prior, "control_residuals", residuals)
    monkeypatch.setattr(prior, "predicted_noise", predicted)
    errors = {e.depth: e for e in denoising_errors(prior, scenes, 3)}
    right = errors[RIGHT]
    assert right.mean == pytest.approx(0, abs=1e-4) and right.worse == 0
    assert len(right.by_timestep) == len(TIMESTEPS)
    assert right.mean < errors["5 cm, 1 deg"].mean < errors["45 cm, 9 deg"].mean < errors["none"].mean
    assert errors["none"].mean == pytest.approx(1, abs=1e-3) and errors["none"].worse == 1
    lines = table(list(errors.values())).splitlines()
    assert len(lines) == 2 + 6 and lines[2].startswith("| right | 0.0000")
    assert lines[-1].endswith("| 100 |")


def test_gradients_of_a_good_loss_lead_to_the_truth(
    trained: Path, scenes: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place of CSD: how far the depth is from the true one, and its negative."""

    def error(prior: Any, depth: torch.Tensor, truth: torch.Tensor, step: Any) -> torch.Tensor:
        both = (depth > 0) & (truth > 0)
        return (depth - truth)[both].abs().clamp(max=0.5).sum()

    def wrong(*arguments: Any) -> torch.Tensor:
        return -error(*arguments)

    monkeypatch.setattr(prior_gradient, "MODES", {"control": None, "released": None})
    monkeypatch.setattr(csd, "MODES", {"control": csd.Mode(error, 1), "released": csd.Mode(wrong, 1)})
    renderers = dict.fromkeys(("control", "released"), distillation.RENDERERS["control"])
    monkeypatch.setattr(prior_gradient, "RENDERERS", renderers)
    prior = DiffusionPrior.load(str(trained), str(trained / "controlnet"), checkpointing=False)
    gradients = pose_gradients(prior, scenes, 3)
    right, reverse = gradients[: len(MOVES)], gradients[len(MOVES) :]
    assert right[0].downhill == right[0].mean_downhill == 1 and right[0].cosine > 0.3
    for a, b in zip(right, reverse, strict=True):
        assert (a.mode, b.mode) == ("control", "released") and a.move == b.move
        assert b.cosine == pytest.approx(-a.cosine) and b.downhill == pytest.approx(1 - a.downhill)
    assert gradient_table(gradients).splitlines()[2].startswith("| control | 5 cm, 1 deg | 100 | 100 | +0.")


@pytest.mark.parametrize(
    ("networks", "message"),
    [({"size": 30}, "multiple of 8"), ({"channels": [20, 40, 80]}, "multiples of 8")],
)
def test_networks_that_cannot_be_built(networks: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        experiment(Path(), Path(), networks=networks)
