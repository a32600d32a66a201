"""Time and memory of a piece of work."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass
class Used:
    """Filled in at the end of the work."""

    seconds: float = 0.0
    peak_mib: float = 0.0
    """Peak memory in MiB: of the work on a GPU, else of this process so far."""


@contextmanager
def measured(device: torch.device) -> Iterator[Used]:
    """Measure the work in the block. On a GPU, wait for it before and after."""
    used, on_gpu = Used(), device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    started = time.perf_counter()
    yield used
    if on_gpu:
        torch.cuda.synchronize(device)
    used.seconds = time.perf_counter() - started
    used.peak_mib = torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else process_peak_mb()


def process_peak_mb() -> float:
    """The peak memory of this process, MiB."""
    try:
        # Not ru_maxrss, which starts at the memory of the parent process when it started this one.
        status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 1024)
