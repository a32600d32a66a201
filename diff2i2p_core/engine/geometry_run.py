"""One training of geometry features as a run: places, steps, validation, checkpoints, weights."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diff2i2p_core.engine.geometry_config import GeometryConfig
from diff2i2p_core.engine.geometry_places import folder_places, training_places
from diff2i2p_core.engine.geometry_training import GeometryTrainer
from diff2i2p_core.engine.geometry_validation import Score, score_places
from diff2i2p_core.engine.records import Means, Records
from diff2i2p_core.engine.run_folder import RunFolder
from diff2i2p_core.engine.signals import StopRequest, ignore_stop_signals
from diff2i2p_core.models.geometry_features import GeometryFeatures
from diff2i2p_core.pairs.loading import load_batches
from diff2i2p_core.pairs.render_batches import Batch, RenderBatches
from diff2i2p_core.pairs.render_pairs import Place
from diff2i2p_core.typing import Progress
from diff2i2p_core.weights.device import automatic_device
from diff2i2p_core.weights.geometry import load_geometry, resolve_geometry, save_geometry
from diff2i2p_core.weights.xfeat import load_xfeat


@dataclass(frozen=True)
class RunPlaces:
    training: list[Place]
    weights: list[float]
    unseen: list[Place]


class GeometryRun:
    """A run in the folder `output/name`, which ends with `last.safetensors` and, with validation, `best`."""

    def __init__(self, config: GeometryConfig) -> None:
        self.config = config
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.device = automatic_device(config.device)
        torch.manual_seed(config.seed)
        self.folder = RunFolder(config.output / config.name)
        self.best = float("-inf")
        self.seconds = 0.0
        self._resumed: dict[str, Any] | None = None

    def prepare(self, resume: bool = False, progress: Progress | None = None) -> RunPlaces:
        """The places, which are kept in the run's folder. `resume` continues a run that was interrupted."""
        if resume:
            self._resumed = self.folder.load_checkpoint()
        else:
            self.folder.refuse_if_used()
        kept = self.folder.path / "places"
        places, weights = training_places(self.config, kept, progress)
        return RunPlaces(places, weights, folder_places(self.config.validation, kept, progress))

    def train(self, places: RunPlaces) -> Path:
        """Train to the last step. Returns the file with the weights. `Stopped` if a signal ended it."""
        config, folder = self.config, self.folder
        trainer = GeometryTrainer(_start(config).to(self.device), config)
        if self._resumed is not None:
            trainer.load_state(self._resumed["trainer"])
            self.best, self.seconds = self._resumed["best"], self._resumed["seconds"]
        folder.start(config, trainer.step)
        means = Means()
        with (
            closing(self._batches(places, trainer.step)) as batches,  # its processes must not outlive the run
            StopRequest() as request,
            Records(folder, config.steps, trainer.step, True) as records,
        ):
            while trainer.step < config.steps:
                started = time.perf_counter()
                means.add(trainer.train_step(next(batches)))
                self.seconds += time.perf_counter() - started
                records.advance(trainer.step)
                last = trainer.step == config.steps
                if last or trainer.step % config.log_every == 0:
                    records.training(trainer.step, 1, means.take([means.sums]), self.seconds)
                if last or trainer.step % config.validate_every == 0:
                    self._validate(trainer, places.unseen, records)
                if last or request.received or trainer.step % config.validate_every == 0:
                    self._save(trainer)
                if request.received and not last:
                    raise request.stopped(trainer.step, config.steps, folder.checkpoint)
        return folder.weights("best" if places.unseen else "last")

    def _batches(self, places: RunPlaces, first: int) -> Generator[Batch, None, None]:
        """The batches of the steps from `first` on."""
        config = self.config
        weights = np.array(places.weights) / np.sum(places.weights)
        source = RenderBatches(
            places.training, weights, config.pairs, config.samples, config.seed, config.papered
        )
        steps = [[step] for step in range(first, config.steps)]
        return load_batches(source, steps, config.workers, itemgetter(0), ignore_stop_signals)

    def _validate(self, trainer: GeometryTrainer, unseen: list[Place], records: Records) -> None:
        """Log the score in unseen places, and keep the best weights."""
        if not unseen:
            return
        score = score_places(trainer.average, unseen, self.config.validation_pairs)
        self.folder.log({"step": trainer.step, "validation": score._asdict()})
        records.scalars("validation", score._asdict(), trainer.step)
        if score.merit > self.best:
            self.best = score.merit
            self._write(trainer.average, "best", trainer.step, score)

    def _save(self, trainer: GeometryTrainer) -> None:
        state: dict[str, Any] = {"trainer": trainer.state(), "best": self.best, "seconds": self.seconds}
        self.folder.save_checkpoint(state)
        self._write(trainer.average, "last", trainer.step, None)

    def _write(self, model: GeometryFeatures, name: str, step: int, score: Score | None) -> None:
        notes = {"steps": str(step), **({} if score is None else {"validation": str(score._asdict())})}
        with self.folder.writing():
            save_geometry(model, self.folder.weights(name), notes)


def _start(config: GeometryConfig) -> GeometryFeatures:
    if config.start_from is None:
        return GeometryFeatures.from_xfeat(load_xfeat())
    return load_geometry(resolve_geometry(config.start_from))
