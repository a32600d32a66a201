"""Pairs, epochs and learning rates of steps."""

from __future__ import annotations

from typing import Any

import pytest

from diff2i2p_core.engine.experiment import TrainConfig
from diff2i2p_core.engine.schedule import Schedule


def schedule(processes: int = 1, epoch_length: int = 100, **changes: Any) -> Schedule:
    values = {"scenes": [{"folder": "somewhere"}], **changes}
    return Schedule.of(TrainConfig.model_validate(values), epoch_length, processes)


def test_a_step_takes_the_same_pairs_however_they_are_divided() -> None:
    whole = schedule(steps=2, batch_size=12)
    divided = schedule(steps=2, batch_size=2, accumulate=3, processes=2)
    for step in range(2):
        parts = [
            divided.batch(3 * step + part, process)
            for part in range(3)
            for process in range(divided.processes)
        ]
        assert [pair for part in parts for pair in part] == whole.batch(step, 0)


def test_epochs_count_pairs() -> None:
    plan = schedule(processes=3, epoch_length=100, epochs=2, batch_size=4)
    assert plan.steps == 17  # 12 pairs each, 200 in all
    assert [plan.epoch(step) for step in (0, 8, 9, 16)] == [1, 1, 2, 2]
    assert [plan.epochs_done(steps) for steps in (8, 9, 16, 17)] == [0, 1, 1, 2]


@pytest.mark.parametrize("split", [{"processes": 6}, {"batch_size": 6}, {"batch_size": 2, "accumulate": 3}])
def test_scaled_rate_counts_the_pairs_per_step(split: dict[str, int]) -> None:
    optimizer = {"lr": 1e-4, "schedule": "constant", "warmup": 0, "scale_lr": True}
    plan = schedule(steps=2, optimizer=optimizer, **split)
    assert plan.learning_rate(0) == plan.peak_rate == pytest.approx(6e-4)


def test_released_rate_falls_every_epoch_and_grows_with_the_processes() -> None:
    optimizer = {"lr": 1e-4, "schedule": "step", "gamma": 0.95, "warmup": 0, "scale_lr": True}
    plan = schedule(processes=2, epoch_length=10, epochs=3, optimizer=optimizer)
    assert [plan.learning_rate(step) for step in (0, 4, 5, 14)] == pytest.approx(
        [2e-4, 2e-4, 1.9e-4, 2e-4 * 0.95**2]
    )


def test_cosine_after_a_linear_rise() -> None:
    optimizer = {"lr": 1.0, "final_lr": 0.1, "warmup": 4}
    plan = schedule(steps=104, optimizer=optimizer)
    assert [plan.learning_rate(step) for step in (0, 3, 4, 54, 104)] == pytest.approx([0.25, 1, 1, 0.55, 0.1])
    constant = schedule(steps=104, optimizer={**optimizer, "schedule": "constant"})
    assert [constant.learning_rate(step) for step in (0, 4, 103)] == pytest.approx([0.25, 1, 1])


def test_steps_of_several_epochs() -> None:
    optimizer = {"lr": 1.0, "schedule": "step", "gamma": 0.1, "step_size": 2, "warmup": 0}
    plan = schedule(epoch_length=10, epochs=5, optimizer=optimizer)
    assert [plan.learning_rate(10 * epoch) for epoch in range(5)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_exponential_after_steps_down_to_the_final_rate() -> None:
    optimizer = {"lr": 1.0, "schedule": "exponential", "gamma": 0.5, "step_size": 3, "warmup": 2}
    plan = schedule(steps=100, optimizer={**optimizer, "final_lr": 0.2})
    rates = [plan.learning_rate(step) for step in (0, 1, 2, 4, 5, 8, 99)]
    assert rates == pytest.approx([0.5, 1, 1, 1, 0.5, 0.25, 0.2])


def test_linear_to_the_final_rate() -> None:
    optimizer = {"lr": 1.0, "schedule": "linear", "final_lr": 0.2, "warmup": 4}
    plan = schedule(steps=104, optimizer=optimizer)
    assert [plan.learning_rate(step) for step in (4, 29, 54, 104)] == pytest.approx([1, 0.8, 0.6, 0.2])
