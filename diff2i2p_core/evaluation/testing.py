"""Runs a network on a benchmark subset and stores its result for each pair."""

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
    """Register the pairs that are missing in `folder`, one file each. Returns their number.

    A file is either complete or absent, so an interrupted run resumes. `workers` processes prepare pairs
    beside the network. `progress` gets the number of existing files and the total.
    """
    known = read_info(folder)
    if known is None and any(folder.glob("*/*.npz")):
        raise InputError(f"{folder}: holds results without {INFO}; give another folder")
    for key in ("weights_id", "model", "benchmark", "subset", "pairs"):
        if known is not None and getattr(known, key) != getattr(info, key):
            raise InputError(
                f"{folder}: holds results of another test ({key} is different); give another folder"
            )
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
