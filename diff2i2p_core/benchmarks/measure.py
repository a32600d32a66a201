"""How a benchmark is taken: warm-up, repeated runs, median and quartiles of the wall time.

The processor time beside it says what a run costs when other programs have the machine: with one thread it
is about the wall time of an idle one.
"""

from __future__ import annotations

import importlib
import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from diff2i2p_core.benchmarks import PARTS
from diff2i2p_core.errors import InputError


@dataclass(frozen=True)
class Case:
    """`prepare(device)` makes the input and returns what is timed. Times in milliseconds."""

    name: str
    prepare: Callable[[str], Callable[[], Any]]
    aim_ms: float | None = None
    """On two CPU threads."""
    released_ms: float | None = None
    """The released code's time for the same work on two CPU threads."""


@dataclass(frozen=True)
class Timing:
    name: str
    median_ms: float
    lower_quartile_ms: float
    upper_quartile_ms: float
    fastest_ms: float
    cpu_ms: float
    """Median processor time, all threads together."""
    runs: int
    gpu_peak_mb: float | None
    aim_ms: float | None
    released_ms: float | None


def cases_of(part: str) -> list[Case]:
    """The cases of a part by its name in `PARTS`."""
    if part not in PARTS:
        raise InputError(f"benchmark part '{part}' is unknown; use one of {', '.join(PARTS)}")
    return list(importlib.import_module(PARTS[part]).cases())


def measure(case: Case, device: str = "cpu", runs: int = 30, warm_up: int = 5) -> Timing:
    """Time one case."""
    work = case.prepare(device)
    on_gpu = device.startswith("cuda")

    def timed() -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        if on_gpu:
            torch.cuda.synchronize(device)
        return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)

    for _ in range(warm_up):
        timed()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    times, cpu_times = zip(*(timed() for _ in range(max(runs, 2))), strict=True)
    lower, median, upper = statistics.quantiles(times, n=4, method="inclusive")
    return Timing(
        name=case.name,
        median_ms=median,
        lower_quartile_ms=lower,
        upper_quartile_ms=upper,
        fastest_ms=min(times),
        cpu_ms=statistics.median(cpu_times),
        runs=len(times),
        gpu_peak_mb=torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else None,
        aim_ms=case.aim_ms,
        released_ms=case.released_ms,
    )


def machine(device: str = "cpu") -> dict[str, Any]:
    """What the numbers were taken on."""
    return {
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def process_peak_mb() -> float:
    """The most main memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report(part: str, device: str, timings: list[Timing]) -> dict[str, Any]:
    """One part as the JSON object's entry."""
    return {"part": part, "device": device, "cases": [asdict(timing) for timing in timings]}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
