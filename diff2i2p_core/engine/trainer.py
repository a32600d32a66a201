"""Training on one CPU or GPU, or on several on one or more machines (torchrun, accelerate launch)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from diff2i2p_core.engine.experiment import TrainConfig
from diff2i2p_core.engine.inspection import inspect_training_pair, matches_picture
from diff2i2p_core.engine.objective import Objective
from diff2i2p_core.engine.optimization import make_optimizer, numerics, set_learning_rate
from diff2i2p_core.engine.records import Means, Records
from diff2i2p_core.engine.run_folder import RunFolder
from diff2i2p_core.engine.schedule import Schedule
from diff2i2p_core.engine.signals import StopRequest
from diff2i2p_core.engine.training_pairs import batches, split, training_pairs, validation_pairs
from diff2i2p_core.engine.validation import measure, protocol_of, score
from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.benchmark_summary import summarize
from diff2i2p_core.evaluation.registration import PairMetrics
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.released_init import initialize_as_released
from diff2i2p_core.pairs.pair import Batch
from diff2i2p_core.weights.checkpoint import load_state, start_from

try:
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.utils import gather_object
except ModuleNotFoundError:
    raise InputError("training needs accelerate; install the extra 'train' of diff2i2p_core") from None

SHOWN_PAIRS = 3
"""Number of validation pairs shown as pictures in TensorBoard."""


class Trainer:
    """One run in the folder `output/name`; see `RunFolder`.

    The pairs of a step, and the random choices for each, depend only on the seed and on their numbers. So a
    resumed run continues as if it had not been interrupted, and the number of processes only divides the
    work.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        if config.device == "cuda" and not torch.cuda.is_available():
            raise InputError("device: no CUDA device is found; set device to cpu or auto")
        # The network may leave parts unused, such as tuning if there are no matches.
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)
        cpu = config.device == "cpu" or not torch.cuda.is_available()
        self.accelerator = Accelerator(cpu=cpu, mixed_precision="no", kwargs_handlers=[unused])
        self.device = self.accelerator.device
        self.folder = RunFolder(config.output / config.name)
        torch.manual_seed(config.seed)
        self.model = Diff2I2P(config.model.build())
        if config.model.init == "released":
            initialize_as_released(self.model)
        if config.start_from is not None:
            start_from(self.model, config.start_from)
        if config.image_weights is not None:
            self.model.image_backbone.load_pretrained(config.image_weights)
        self.model.to(self.device)
        self.optimizer = make_optimizer(
            self.model.parameters(), config.optimizer, self.model.image_backbone.pretrained_parameters()
        )
        self.step = 0
        self.validated = 0
        """Last step that was validated."""
        self.seconds = 0.0
        self.best = (-math.inf, -math.inf)

    def run(self, resume: bool = False) -> Path:
        """Train to the last step. Returns the weights file of that step. `Stopped` if a signal ended it."""
        config, accelerator = self.config, self.accelerator
        with accelerator.local_main_process_first():  # it fills the cache of scenes
            source = training_pairs(config, self.model.config)
            self.held_out = validation_pairs(config, self.model.config)
        self.schedule = Schedule.of(config, source.epoch_length, accelerator.num_processes)
        if resume:
            self._resume()
        else:
            self.folder.refuse_if_used()
        if accelerator.is_main_process:
            self.folder.start(config, self.step)
        bf16 = config.precision == "bf16"
        self.objective = Objective(self.model, config.losses, seed=config.seed, bf16=bf16)
        self.parallel = accelerator.prepare(self.objective)
        supply = batches(source, self.schedule, self.step, accelerator.process_index, config.workers)
        means = Means()
        records = Records(self.folder, self.schedule.steps, self.step, accelerator.is_main_process)
        try:
            with StopRequest() as request, records, numerics(config):
                if self._validation_due() and self.validated < self.step:
                    self._validate(records)
                while self.step < self.schedule.steps:
                    self._advance(supply, means, records, request)
        finally:
            supply.close()
        accelerator.end_training()
        return self.folder.weights("last")

    def _advance(self, supply: Iterator[Batch], means: Means, records: Records, request: StopRequest) -> None:
        """One step and everything that is due after it."""
        config, accelerator, started = self.config, self.accelerator, time.perf_counter()
        epoch = self.schedule.epoch(self.step)
        before = self.schedule.epochs_done(self.step)
        stop = self.train_step(supply, means, request.received is not None)
        self.step += 1
        self.seconds += time.perf_counter() - started
        records.advance(self.step)
        last = self.step == self.schedule.steps
        if last or self.step % config.log_every == 0:
            records.training(self.step, epoch, means.take(gather_object([dict(means.sums)])), self.seconds)
        if accelerator.is_main_process and self.step % config.inspect_every == 0:
            protocol = protocol_of(config.validation)
            inspect_training_pair(self.objective, self.shown, protocol, records, self.step)
        done = self.schedule.epochs_done(self.step)
        if config.save_epochs is not None and done // config.save_epochs > before // config.save_epochs:
            self._save_weights(f"epoch-{done}")
            if accelerator.is_main_process and config.keep_last is not None:
                self.folder.remove_old_epochs(config.keep_last)
        validate = self._validation_due()
        if stop or last or validate or self.step % config.save_every == 0:
            self._save()
        if stop:
            raise request.stopped(self.step, self.schedule.steps, self.folder.checkpoint)
        if validate:
            self._validate(records)

    def train_step(self, supply: Iterator[Batch], means: Means, stop: bool = False) -> bool:
        """One optimizer step. Its losses are added to `means`. InputError if something is not finite.

        Returns whether any process was asked to stop.
        """
        config, accelerator = self.config, self.accelerator
        lr = self.schedule.learning_rate(self.step)
        set_learning_rate(self.optimizer, lr)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        seen: list[tuple[list[str], dict[str, float]]] = []
        for part in range(config.accumulate):
            batch = next(supply)
            last = part == config.accumulate - 1
            with nullcontext() if last else accelerator.no_sync(self.parallel):
                losses = self.parallel(batch.to(self.device), epoch=self.schedule.epoch(self.step))
                accelerator.backward(losses["loss"] / config.accumulate)
            values = torch.stack([value.detach().float() for value in losses.values()]).tolist()
            seen.append(([pair.name for pair in batch.pairs], dict(zip(losses, values, strict=True))))
        limit = config.optimizer.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit).item()
        self.shown = batch.pairs[0]
        # All processes agree on whether to continue, so that none waits for one that has stopped.
        local = torch.tensor([sum(losses["loss"] for _, losses in seen), float(stop)], device=self.device)
        loss, stops = accelerator.reduce(local, "mean").tolist()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._refuse(seen, norm)
        self.optimizer.step()
        for _, losses in seen:
            means.add(losses)
        means.add({"gradient": norm, "lr": lr})
        return bool(stops > 0)

    def _refuse(self, seen: list[tuple[list[str], dict[str, float]]], norm: float) -> None:
        everywhere: list[Any] = gather_object(seen)
        if not self.accelerator.is_main_process:
            raise SystemExit(2)  # one line is enough
        broken = [entry for entry in everywhere if not math.isfinite(entry[1]["loss"])]
        for names, losses in broken or everywhere:
            values = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
            raise InputError(
                f"{', '.join(names)}: not finite at step {self.step} ({values}; gradient {norm:.4g}); "
                "nothing was overwritten; lower optimizer.lr or check the data, then resume"
            )

    def _validation_due(self) -> bool:
        if self.held_out is None or self.step == 0:
            return False
        every = self.config.validation.every
        if every is not None:
            return self.step % every == 0
        return self.schedule.epochs_done(self.step) > self.schedule.epochs_done(self.step - 1)

    def _validate(self, records: Records) -> None:
        assert self.held_out is not None
        accelerator = self.accelerator
        pairs = split(self.held_out, accelerator.process_index, accelerator.num_processes)
        protocol = protocol_of(self.config.validation)
        measured: list[PairMetrics] = []
        for registration, metrics in measure(self.model, pairs, protocol):
            if accelerator.is_main_process and len(measured) < SHOWN_PAIRS:
                picture = matches_picture(registration, metrics, protocol)
                records.picture(f"validation/{len(measured)}", picture, self.step)
            measured.append(metrics)
        summary = summarize(gather_object(measured))
        records.validation(self.step, self.schedule.epochs_done(self.step), summary)
        self.validated = self.step
        if score(summary) > self.best:
            self.best = score(summary)
            self._save_weights("best")
        self._save()

    def _save_weights(self, name: str) -> None:
        if self.accelerator.is_main_process:
            notes = {"run": self.config.name, "step": str(self.step), "hours": f"{self.seconds / 3600:.2f}"}
            self.folder.save_weights(self.model, name, notes)

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            state = {
                "step": self.step,
                "validated": self.validated,
                "seconds": self.seconds,
                "best": self.best,
                "pairs_per_step": self.schedule.pairs_per_step,
                "peak_rate": self.schedule.peak_rate,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
            self.folder.save_checkpoint(state)
            self._save_weights("last")

    def _resume(self) -> None:
        state = self.folder.load_checkpoint()
        if state["pairs_per_step"] != self.schedule.pairs_per_step:
            raise InputError(
                f"{self.folder.checkpoint}: from a run with {state['pairs_per_step']} pairs per step, "
                f"this one has {self.schedule.pairs_per_step}; keep batch_size * accumulate * processes"
            )
        rate = state.get("peak_rate", self.schedule.peak_rate)  # older checkpoints have none
        if not math.isclose(rate, self.schedule.peak_rate):
            raise InputError(
                f"{self.folder.checkpoint}: from a run with the learning rate {rate:g}, this one has "
                f"{self.schedule.peak_rate:g}; keep optimizer.lr and optimizer.scale_lr, or start another "
                "run with start_from"
            )
        load_state(self.model, state["model"], self.folder.checkpoint)
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.validated, self.seconds = state["step"], state["validated"], state["seconds"]
        self.best = state["best"]
