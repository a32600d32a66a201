"""Measures benchmarks: warm-up, repeated runs, median and quartiles of the wall time.

The processor time is measured as well, for machines with other load: with one thread, it is about the wall
time on an idle machine.
"""

from __future__ import annotations

import importlib
import math
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from diff2i2p_core.benchmarks import PARTS
from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.resources import process_peak_mb


@dataclass(frozen=True)
class Case:
    """`prepare(device)` makes the input and returns the function to time. Milliseconds; MiB of memory."""

    name: str
    prepare: Callable[[str], Callable[[], Any]]
    aim_ms: float | None = None
    """On two CPU threads."""
    released_ms: float | None = None
    """The released code's time for the same work on two CPU threads."""
    aim_mb: float | None = None
    released_mb: float | None = None
    most_runs: int | None = None
    """Maximum number of timed runs, for work of many seconds; there is then one warm-up run."""
    needs_gpu: bool = False
    """Skip it on a CPU."""
    apart: bool = False
    """Measure in a separate process, with its peak of main memory. `prepare` must be picklable."""
    kernel_of: str | None = None
    """This is the GPU kernel for the case with this name, and is compared with it."""


@dataclass(frozen=True)
class OnFile:
    """Work on a file whose size is also reported."""

    work: Callable[[], Any]
    path: Path

    def __call__(self) -> Any:
        return self.work()


@dataclass(frozen=True)
class Timing:
    name: str
    median_ms: float
    lower_quartile_ms: float
    upper_quartile_ms: float
    fastest_ms: float
    cpu_ms: float
    """Median processor time of all threads together."""
    runs: int
    peak_mb: float | None
    """Peak memory of a process that ran only this case, including Python and libraries (0.3 GiB)."""
    gpu_peak_mb: float | None
    aim_ms: float | None
    released_ms: float | None
    aim_mb: float | None
    released_mb: float | None
    times_faster: float | None = None
    """For a kernel: the median of its reference, in the same run, divided by its own."""
    times_less_memory: float | None = None
    file_mb: float | None = None
    """Size in 10^6 bytes of the file that the case reads or writes."""


def cases_of(part: str) -> list[Case]:
    """The cases of a part, by its name in `PARTS`."""
    if part not in PARTS:
        raise InputError(f"benchmark part '{part}' is unknown; use one of {', '.join(PARTS)}")
    return list(importlib.import_module(PARTS[part]).cases())


def measure(
    case: Case, device: str = "cpu", runs: int = 30, warm_up: int = 5, seconds: float = math.inf
) -> Timing:
    """Time one case, in a separate process if the case asks for it. After so many seconds, three runs are
    enough."""
    if case.apart:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context) as pool:
            threads = torch.get_num_threads()
            return pool.submit(_measure_apart, case, device, runs, warm_up, seconds, threads).result()
    if case.most_runs is not None:
        runs, warm_up = min(runs, case.most_runs), min(warm_up, 1)
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
    done = [timed(), timed()]  # quartiles need two
    while len(done) < runs and (len(done) < 3 or sum(wall for wall, _ in done) < 1000 * seconds):
        done.append(timed())
    times, cpu_times = zip(*done, strict=True)
    lower, median, upper = statistics.quantiles(times, n=4, method="inclusive")
    return Timing(
        name=case.name,
        median_ms=median,
        lower_quartile_ms=lower,
        upper_quartile_ms=upper,
        fastest_ms=min(times),
        cpu_ms=statistics.median(cpu_times),
        runs=len(times),
        peak_mb=None,
        gpu_peak_mb=torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else None,
        aim_ms=case.aim_ms,
        released_ms=case.released_ms,
        aim_mb=case.aim_mb,
        released_mb=case.released_mb,
        file_mb=work.path.stat().st_size / 1e6 if isinstance(work, OnFile) else None,
    )


def compared(timing: Timing, case: Case, before: list[Timing]) -> Timing:
    """A kernel's timing with its ratios to its reference, which is one of those in `before`."""
    if case.kernel_of is None:
        return timing
    reference = next(t for t in before if t.name == case.kernel_of)
    less = None
    if reference.gpu_peak_mb and timing.gpu_peak_mb:
        less = reference.gpu_peak_mb / timing.gpu_peak_mb
    return replace(timing, times_faster=reference.median_ms / timing.median_ms, times_less_memory=less)


def _measure_apart(case: Case, device: str, runs: int, warm_up: int, seconds: float, threads: int) -> Timing:
    torch.set_num_threads(threads)
    timing = measure(replace(case, apart=False), device, runs, warm_up, seconds)
    return replace(timing, peak_mb=process_peak_mb())


def machine(device: str = "cpu") -> dict[str, Any]:
    """The machine that the results are from."""
    return {
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def report(part: str, device: str, timings: list[Timing]) -> dict[str, Any]:
    """The JSON entry of one part."""
    return {"part": part, "device": device, "cases": [asdict(timing) for timing in timings]}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
