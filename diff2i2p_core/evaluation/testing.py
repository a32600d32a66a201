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
from diff2i2p_core.evaluation.processes import Processes
from diff2i2p_core.evaluation.registration import register
from diff2i2p_core.evaluation.released_layout import write_released
from diff2i2p_core.evaluation.resources import Used
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
    processes: Processes | None = None,
) -> list[Used]:
    """Register the pairs that are missing in `folder`, one file each. Returns what the network needed for
    each, also in other processes.

    A file is either complete or absent, so an interrupted run resumes. `workers` processes prepare pairs
    beside the network. `progress` gets the number of existing files and the total. Several `processes` share
    the missing pairs.
    """
    processes = processes or Processes()
    _check_same_test(folder, info)
    processes.wait()
    if processes.index == 0:
        write_info(folder, info)
    missing = [
        number
        for number, entry in enumerate(pairs.entries)
        if not registration_path(folder, entry.name).exists()
    ]
    processes.wait()  # nobody writes before everybody has looked
    done, used = pairs.epoch_length - len(missing), []
    loaded = load_batches(
        pairs, [[number] for number in missing[processes.index :: processes.count]], workers, list
    )
    model.eval()
    for (pair,) in loaded:
        registration = register(model, pair)
        path = registration_path(folder, pair.name)
        if info.format == "released":
            write_released(registration, model, pair, pairs.entry(pair.index), path)
        else:
            write_registration(registration, path)
        assert registration.seconds is not None and registration.peak_mib is not None
        used.append(Used(registration.seconds, registration.peak_mib))
        if progress is not None:
            done = min(done + processes.count, pairs.epoch_length)
            progress(done, pairs.epoch_length)
    processes.wait()
    return processes.gather(used)


def _check_same_test(folder: Path, info: CacheInfo) -> None:
    known = read_info(folder)
    if known is None and any(folder.glob("*/*.npz")):
        raise InputError(f"{folder}: holds results without {INFO}; give another folder")
    for key in ("weights_id", "model", "benchmark", "subset", "pairs", "format", "config"):
        if known is not None and getattr(known, key) != getattr(info, key):
            raise InputError(
                f"{folder}: holds results of another test ({key} is different); give another folder"
            )
