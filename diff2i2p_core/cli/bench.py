"""`diff2i2p bench`: measures the speed of the parts on this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from diff2i2p_core.cli import options

if TYPE_CHECKING:
    from diff2i2p_core.benchmarks.measure import Timing


def bench(
    part: Annotated[str, typer.Argument(help="The part to measure; all by default.")] = "all",
    device: options.Device = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    runs: Annotated[int, typer.Option(min=2, help="Timed runs of each case.")] = 30,
    as_json: options.AsJson = False,
) -> None:
    """Measure median and spread of each part's time, and the network's memory. Takes some minutes."""
    import torch
    from rich.console import Console

    from diff2i2p_core.benchmarks import PARTS
    from diff2i2p_core.benchmarks.measure import cases_of, compared, machine, measure, report
    from diff2i2p_core.evaluation.resources import process_peak_mb

    options.check_device(device)
    torch.set_num_threads(threads)
    console, parts = Console(stderr=True), []
    for name in PARTS if part == "all" else [part]:
        timings: list[Timing] = []
        cases = cases_of(name)
        if not device.startswith("cuda"):
            if any(case.kernel_of for case in cases):
                words = f"{name}: kernels need a GPU; only their references are measured"
                console.print(words, soft_wrap=True)
            cases = [case for case in cases if case.kernel_of is None and not case.needs_gpu]
        for case in cases:
            with console.status(case.name):
                timings.append(compared(measure(case, device, runs), case, timings))
        parts.append(report(name, device, timings))
        if not as_json:
            _print_table(name, timings)
    if as_json:
        print(json.dumps({"machine": machine(device), "peak_memory_mb": process_peak_mb(), "parts": parts}))
    else:
        print(", ".join(f"{key}: {value}" for key, value in machine(device).items()))


def _print_table(part: str, timings: list[Timing]) -> None:
    from rich.console import Console
    from rich.table import Table

    def number(value: float | None, digits: int = 0) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    columns = {
        "case": [t.name for t in timings],
        "median ms": [number(t.median_ms, 1) for t in timings],
        "quartiles ms": [f"{t.lower_quartile_ms:.1f} - {t.upper_quartile_ms:.1f}" for t in timings],
        "fastest ms": [number(t.fastest_ms, 1) for t in timings],
        "CPU ms": [number(t.cpu_ms, 1) for t in timings],
        "aim ms": [number(t.aim_ms) for t in timings],
        "released code ms": [number(t.released_ms) for t in timings],
        "peak MiB": [number(t.peak_mb) for t in timings],
        "aim MiB": [number(t.aim_mb) for t in timings],
        "released code MiB": [number(t.released_mb) for t in timings],
        "file MB": [number(t.file_mb, 1) for t in timings],
        "GPU MiB": [number(t.gpu_peak_mb) for t in timings],
        "times faster": [number(t.times_faster, 1) for t in timings],
        "times less memory": [number(t.times_less_memory, 1) for t in timings],
    }
    columns = {heading: values for heading, values in columns.items() if any(values)}
    table = Table(title=part)
    for heading in columns:
        left = heading == "case"
        table.add_column(heading, justify="left" if left else "right", no_wrap=not left)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = 160
    console.print(table)
