"""Evaluates a folder of registrations under a protocol."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from diff2i2p_core.evaluation.benchmark_summary import BenchmarkSummary, summarize
from diff2i2p_core.evaluation.cache import read_registration, registration_files
from diff2i2p_core.evaluation.protocol import Protocol, at_all_thresholds
from diff2i2p_core.evaluation.registration import PairMetrics, pair_metrics_at


@dataclass(frozen=True)
class Result:
    """The metrics of all pairs under one protocol."""

    protocol: Protocol
    metrics: list[PairMetrics]
    """In the order of the files."""
    summary: BenchmarkSummary


def evaluate_folder(
    folder: Path, protocol: Protocol, threads: int, progress: Callable[[int, int], None] | None = None
) -> list[Result]:
    """Evaluate all registrations in `folder` under `protocol`, and the same with the thresholds of each other
    benchmark.

    OpenCV's RANSAC takes nearly all of the time and releases the interpreter's lock, so threads share the
    pairs. `progress` gets the number done and the total.
    """
    files = registration_files(folder)
    protocols = at_all_thresholds(protocol)
    pairs = []
    with ThreadPoolExecutor(threads) as pool:
        for metrics in pool.map(lambda path: pair_metrics_at(read_registration(path), protocols), files):
            pairs.append(metrics)
            if progress is not None:
                progress(len(pairs), len(files))
    columns = [list(column) for column in zip(*pairs, strict=True)]
    return [
        Result(rules, column, summarize(column)) for rules, column in zip(protocols, columns, strict=True)
    ]
