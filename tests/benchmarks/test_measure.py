from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from diff2i2p_core.benchmarks.measure import Case, measure
from diff2i2p_core.evaluation.resources import process_peak_mb


def hold(megabytes: int, device: str) -> Callable[[], object]:
    return lambda: np.ones(megabytes << 17)


def test_memory_of_a_case_is_its_own_and_not_that_of_what_ran_before() -> None:
    before = np.ones(2000 << 17)  # 2 GB here must not count in the case's process
    assert process_peak_mb() > 2000
    timing = measure(Case("700 MiB", partial(hold, 700), apart=True), runs=2, warm_up=0)
    del before
    assert timing.peak_mb is not None
    assert 700 < timing.peak_mb < 1500  # with Python and torch
