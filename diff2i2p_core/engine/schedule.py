"""The pairs, the epoch and the learning rate of each step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from diff2i2p_core.engine.experiment import OptimizerConfig, TrainConfig


@dataclass(frozen=True)
class Schedule:
    """Steps count from 0, epochs from 1. Step s uses the run's pairs [s, s + 1) * pairs_per_step, however
    many processes share them. A step may extend beyond the end of an epoch."""

    steps: int
    epoch_length: int
    batch_size: int
    accumulate: int
    processes: int
    optimizer: OptimizerConfig

    @classmethod
    def of(cls, config: TrainConfig, epoch_length: int, processes: int) -> Schedule:
        per_step = config.batch_size * config.accumulate * processes
        steps = config.steps or math.ceil((config.epochs or 0) * epoch_length / per_step)
        return cls(steps, epoch_length, config.batch_size, config.accumulate, processes, config.optimizer)

    @property
    def pairs_per_step(self) -> int:
        return self.batch_size * self.accumulate * self.processes

    def epochs_done(self, steps: int) -> int:
        """The number of complete epochs after `steps` steps."""
        return steps * self.pairs_per_step // self.epoch_length

    def epoch(self, step: int) -> int:
        """The epoch of a step's first pair."""
        return 1 + self.epochs_done(step)

    def batch(self, number: int, process: int) -> list[int]:
        """The pairs of a process's batch. Step s has `accumulate` batches from s * accumulate on."""
        first = (number * self.processes + process) * self.batch_size
        return list(range(first, first + self.batch_size))

    @property
    def peak_rate(self) -> float:
        """The learning rate after the warm-up."""
        return self.optimizer.lr * (self.pairs_per_step if self.optimizer.scale_lr else 1)

    def learning_rate(self, step: int) -> float:
        settings, peak = self.optimizer, self.peak_rate
        if step < settings.warmup:
            return peak * (step + 1) / settings.warmup
        if settings.schedule == "constant":
            return peak
        if settings.schedule == "step":
            return peak * settings.gamma ** ((self.epoch(step) - 1) // settings.step_size)
        if settings.schedule == "exponential":
            falls = (step - settings.warmup) // settings.step_size
            return max(peak * settings.gamma**falls, settings.final_lr)
        done = (step - settings.warmup) / max(1, self.steps - settings.warmup)
        left = 1 - done if settings.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
        return settings.final_lr + (peak - settings.final_lr) * left
