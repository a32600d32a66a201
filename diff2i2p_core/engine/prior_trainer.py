"""Trains a small depth-conditioned diffusion model, for CSD without Stable Diffusion."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diff2i2p_core.engine.optimization import make_optimizer, set_learning_rate
from diff2i2p_core.engine.prior_config import PriorConfig
from diff2i2p_core.engine.prior_frames import HEIGHT, Example, PriorFrames
from diff2i2p_core.engine.prior_networks import PriorPair
from diff2i2p_core.engine.records import Means, Records
from diff2i2p_core.engine.run_folder import RunFolder
from diff2i2p_core.engine.schedule import Schedule
from diff2i2p_core.engine.signals import StopRequest
from diff2i2p_core.engine.training_pairs import load_scenes
from diff2i2p_core.errors import InputError
from diff2i2p_core.ops.backend import bfloat16_autocast
from diff2i2p_core.weights.device import automatic_device


class PriorTrainer:
    """One run in the folder `output/name`, which ends with the prior in `output/name/prior`.

    A step depends only on the seed and its number, so a resumed run continues as if it had not been
    interrupted.
    """

    def __init__(self, config: PriorConfig) -> None:
        self.config = config
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.device = automatic_device(config.device)
        self.folder = RunFolder(config.output / config.name)
        torch.manual_seed(config.seed)
        self.networks = PriorPair(config.networks).to(self.device)
        self.optimizer = make_optimizer(self.networks.parameters(), config.optimizer)
        self.average = _average(self.networks.parameters(), config.average)
        self.schedule = Schedule(config.steps, config.steps, config.batch_size, 1, 1, config.optimizer)
        self.step = 0
        self.seconds = 0.0

    def run(self, resume: bool = False) -> Path:
        """Train to the last step. Returns the prior's folder. `Stopped` if a signal ended it."""
        config = self.config
        if resume:
            self._resume()
        else:
            self.folder.refuse_if_used()
        scenes, weights = load_scenes(config.scenes, HEIGHT, config.cache)
        frames = PriorFrames(scenes, weights, config.networks.size, config.seed)
        self.folder.start(config, self.step)
        means = Means()
        with StopRequest() as request, Records(self.folder, config.steps, self.step, True) as records:
            while self.step < config.steps:
                started = time.perf_counter()
                means.add(self.train_step(frames.batch(self.step * config.batch_size, config.batch_size)))
                self.step += 1
                self.seconds += time.perf_counter() - started
                records.advance(self.step)
                last = self.step == config.steps
                if last or self.step % config.log_every == 0:
                    records.training(self.step, 1, means.take([means.sums]), self.seconds)
                if last or request.received or self.step % config.save_every == 0:
                    self._save()
                if request.received and not last:
                    raise request.stopped(self.step, config.steps, self.folder.checkpoint)
        return self.prior

    @property
    def prior(self) -> Path:
        """The folder for `losses.csd.model`."""
        return self.folder.path / "prior"

    def train_step(self, batch: Example) -> dict[str, float]:
        """One optimizer step. InputError if the loss or its gradient is not finite."""
        config = self.config
        lr = self.schedule.learning_rate(self.step)
        set_learning_rate(self.optimizer, lr)
        self.networks.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(batch)
        loss.backward()
        limit = config.optimizer.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.networks.parameters(), limit).item()
        if not (math.isfinite(norm) and math.isfinite(loss.item())):
            raise InputError(
                f"not finite at step {self.step} (loss {loss.item():.4g}; gradient {norm:.4g}); nothing was "
                "overwritten; lower optimizer.lr, then resume"
            )
        self.optimizer.step()
        self.average.step(self.networks.parameters())
        return {"loss": loss.item(), "gradient": norm, "lr": lr}

    def loss(self, batch: Example) -> Tensor:
        """The mean squared error of the predicted velocity, at random timesteps.

        Where there is much noise, it weights the image more than an error of the noise would.
        """
        generator = torch.Generator().manual_seed((self.config.seed << 32) + self.step)
        images, control = batch.image, batch.control.clone()
        control[torch.rand(len(images), generator=generator) < self.config.uncontrolled] = -1
        first, last = self.config.timesteps
        timestep = torch.randint(first, last + 1, (len(images),), generator=generator)
        noise = torch.randn(self.networks.latents(images).shape, generator=generator)
        inputs: Sequence[Tensor] = [x.to(self.device) for x in (images, control, timestep, noise)]
        with bfloat16_autocast(self.device.type, self.config.precision == "bf16"):
            predicted, velocity = self.networks(*inputs)
        return F.mse_loss(predicted.float(), velocity)

    def _save(self) -> None:
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "networks": self.networks.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
        }
        self.folder.save_checkpoint(state)
        self.average.store(self.networks.parameters())
        self.average.copy_to(self.networks.parameters())
        with self.folder.writing():
            self.networks.save(self.prior)
        self.average.restore(self.networks.parameters())

    def _resume(self) -> None:
        state = self.folder.load_checkpoint()
        try:
            self.networks.load_state_dict(state["networks"])
        except RuntimeError:
            raise InputError(
                f"{self.folder.checkpoint}: from other networks; keep those of the run's config.json"
            ) from None
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])
        self.step, self.seconds = state["step"], state["seconds"]


def _average(parameters: Iterable[nn.Parameter], decay: float) -> Any:
    from diffusers.training_utils import EMAModel

    return EMAModel(parameters, decay=decay, foreach=True)
