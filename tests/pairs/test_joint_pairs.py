"""Training on several benchmarks in one run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from benchmark_folder import SMALL, write_benchmark
from pydantic import ValidationError

from diff2i2p_core.engine.experiment import TrainConfig
from diff2i2p_core.engine.training_pairs import training_pairs, validation_pairs
from diff2i2p_core.pairs.benchmark_pairs import BenchmarkPairs
from diff2i2p_core.pairs.joint_pairs import JointPairs


@dataclass(frozen=True)
class Numbered:
    """A pair that knows where it came from."""

    source: str
    number: int
    index: int = -1


def source(name: str, length: int) -> Any:
    class Source:
        epoch_length = length

        def __getitem__(self, n: int) -> Numbered:
            return Numbered(name, n)

    return Source()


def test_an_epoch_uses_each_pair_as_often_as_its_source_is_repeated() -> None:
    pairs: Any = JointPairs([source("a", 5), source("b", 2)], [1, 3], seed=0)
    assert pairs.epoch_length == 11
    drawn = [pairs[n] for n in range(33)]
    assert [pair.index for pair in drawn] == list(range(33))
    for epoch in range(3):
        part = drawn[11 * epoch : 11 * (epoch + 1)]
        assert Counter((p.source, p.number % {"a": 5, "b": 2}[p.source]) for p in part) == (
            {("a", n): 1 for n in range(5)} | {("b", n): 3 for n in range(2)}
        )
    # The sources' own epochs go on, so that they are shuffled and augmented anew.
    assert sorted(p.number for p in drawn if p.source == "a") == list(range(15))
    assert sorted(p.number for p in drawn if p.source == "b") == list(range(18))
    orders = ["".join(p.source for p in drawn[i : i + 11]) for i in (0, 11, 22)]
    assert len(set(orders)) == 3 and "aaaaa" not in orders[0]


def test_pairs_depend_on_seed_and_number_alone() -> None:
    def joint(seed: int) -> Any:
        return JointPairs([source("a", 5), source("b", 4)], [1, 1], seed)

    forwards = joint(0)
    expected = [forwards[n] for n in range(27)]
    backwards = joint(0)
    assert [backwards[n] for n in reversed(range(27))] == expected[::-1]
    assert [joint(1)[n] for n in range(9)] != expected[:9]


def test_an_experiment_trains_on_both_and_validates_on_the_first(tmp_path: Path) -> None:
    roots = [
        write_benchmark(tmp_path / name, [0.9, 0.6, 0.7][:count]) for name, count in (("a", 3), ("b", 2))
    ]
    values = {
        "epochs": 1,
        "seed": 4,
        "benchmark": {"root": roots[0]},
        "joint": [{"root": roots[1], "repeat": 2, "max_points": 60}],
    }
    config = TrainConfig.model_validate(values)
    pairs = training_pairs(config, SMALL)
    assert pairs.epoch_length == 3 + 2 * 2
    sizes = Counter(len(pairs[n].pyramid.points[0]) <= 60 for n in range(pairs.epoch_length))
    assert sizes == {False: 3, True: 4}
    listed = roots[0] / "metadata/train-full.pkl"
    listed.with_name("val-full.pkl").write_bytes(listed.read_bytes())
    held_out = validation_pairs(config, SMALL)
    assert held_out is not None and isinstance(held_out[0], BenchmarkPairs)
    assert held_out[0].settings.root == roots[0]
    alone = training_pairs(TrainConfig.model_validate({**values, "joint": []}), SMALL)
    assert isinstance(alone, BenchmarkPairs)


def test_joint_needs_a_benchmark() -> None:
    with pytest.raises(ValidationError, match="joint adds benchmarks to `benchmark`, which is missing"):
        TrainConfig.model_validate({"steps": 1, "scenes": [{"folder": "x"}], "joint": [{"root": "y"}]})
