"""Evaluates a folder of registrations under a protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.benchmark_summary import BenchmarkSummary, summarize
from diff2i2p_core.evaluation.cache import read_registration, registration_files
from diff2i2p_core.evaluation.protocol import Protocol, at_all_thresholds
from diff2i2p_core.evaluation.registration import PairMetrics, pair_metrics_at
from diff2i2p_core.parallel import WorkerLost, workers


@dataclass(frozen=True)
class Result:
    """The metrics of all pairs under one protocol."""

    protocol: Protocol
    metrics: list[PairMetrics]
    """In the order of the files."""
    summary: BenchmarkSummary


def evaluate_folder(
    folder: Path,
    protocol: Protocol,
    threads: int,
    progress: Callable[[int, int], None] | None = None,
    cluster: str | None = None,
) -> list[Result]:
    """Evaluate all registrations in `folder` under `protocol`, and the same with the thresholds of each other
    benchmark.

    OpenCV's RANSAC takes nearly all of the time and releases the interpreter's lock, so threads share the
    pairs; or the workers of a Dask `cluster`, which must see the folder. `progress` gets the number done and
    the total.
    """
    folder = folder if cluster is None else folder.absolute()
    files = registration_files(folder)
    protocols = at_all_thresholds(protocol)
    pairs: dict[int, list[PairMetrics]] = {}
    with workers(threads, cluster, threads=True, shared=folder) as run:
        try:
            for number, metrics in run(partial(_metrics, protocols), files):
                pairs[number] = metrics
                if progress is not None:
                    progress(len(pairs), len(files))
        except WorkerLost as error:
            raise InputError(f"{folder}: {error}; run the same again") from None
    columns = zip(*(pairs[number] for number in range(len(files))), strict=True)
    return [
        Result(rules, list(column), summarize(list(column)))
        for rules, column in zip(protocols, columns, strict=True)
    ]


def _metrics(protocols: list[Protocol], path: Path) -> list[PairMetrics]:
    return pair_metrics_at(read_registration(path), protocols)
