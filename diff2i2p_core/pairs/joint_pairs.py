"""Training pairs of several benchmarks in one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from diff2i2p_core.pairs.benchmark_pairs import BenchmarkSettings
from diff2i2p_core.pairs.pair import Pair, PairSource


class JointBenchmark(BenchmarkSettings):
    """A benchmark that a run trains on beside another."""

    repeat: int = Field(default=1, gt=0)
    """How often each of its pairs is used in an epoch."""


class JointPairs:
    """The pairs of several sources, mixed at random. In each epoch, each pair of a source is used as often as
    the source is repeated. Pair n depends only on the seeds and n."""

    def __init__(self, sources: Sequence[PairSource], repeats: Sequence[int], seed: int) -> None:
        self.sources, self.seed = list(sources), seed
        self.counts = [
            source.epoch_length * times for source, times in zip(self.sources, repeats, strict=True)
        ]
        self.epoch_length = sum(self.counts)
        self._epoch = -1

    def __getitem__(self, n: int) -> Pair:
        epoch, slot = divmod(n, self.epoch_length)
        if epoch != self._epoch:
            self._epoch, (self._chosen, self._ranks) = epoch, self._mixed(epoch)
        chosen = int(self._chosen[slot])
        number = epoch * self.counts[chosen] + int(self._ranks[slot])
        return replace(self.sources[chosen][number], index=n)

    def _mixed(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each slot of an epoch: a source, and how many earlier slots have the same one."""
        rng = np.random.default_rng([self.seed, 3, epoch])
        chosen = rng.permutation(np.repeat(np.arange(len(self.counts)), self.counts))
        ranks = np.empty_like(chosen)
        for source, count in enumerate(self.counts):
            ranks[chosen == source] = np.arange(count)
        return chosen, ranks
