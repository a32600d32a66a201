"""Run a network on a benchmark subset and keep what it said of each pair."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.cache import (
    INFO,
    CacheInfo,
    read_info,
    registration_path,
    write_info,
    write_registration,
)
from diff2i2p_core.evaluation.registration import register
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.pairs.benchmark_pairs import BenchmarkPairs
from diff2i2p_core.pairs.loading import load_batches


def register_subset(
    model: Diff2I2P,
    pairs: BenchmarkPairs,
    folder: Path,
    info: CacheInfo,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Register the pairs that `folder` lacks, one file each; returns how many that were.

    A file is complete or absent, so a run that was stopped goes on where it was. `workers` processes prepare
    pairs beside the network; `progress` gets the counts of files there are and will be.
    """
    known = read_info(folder)
    if known is None and any(folder.glob("*/*.npz")):
        raise InputError(f"{folder}: holds results without {INFO}; give another folder")
    for key in ("weights_id", "model", "benchmark", "subset", "pairs"):
        if known is not None and getattr(known, key) != getattr(info, key):
            raise InputError(f"{folder}: holds results of another test ({key} differs); give another folder")
    write_info(folder, info)
    missing = [
        number
        for number, entry in enumerate(pairs.entries)
        if not registration_path(folder, entry.name).exists()
    ]
    done = pairs.epoch_length - len(missing)
    loaded = load_batches(pairs, [[number] for number in missing], workers, list)
    model.eval()
    for number, (pair,) in enumerate(loaded, start=done + 1):
        write_registration(register(model, pair), registration_path(folder, pair.name))
        if progress is not None:
            progress(number, pairs.epoch_length)
    return len(missing)
