"""`diff2i2p bench`: how fast the parts are on this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from diff2i2p_core.cli import options

if TYPE_CHECKING:
    from diff2i2p_core.benchmarks.measure import Timing


def bench(
    part: Annotated[str, typer.Argument(help="Which part; all of them by default.")] = "all",
    device: options.Device = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    runs: Annotated[int, typer.Option(min=2, help="Timed runs of each case.")] = 30,
    as_json: options.AsJson = False,
) -> None:
    """Median and spread of the time each part takes."""
    import torch

    from diff2i2p_core.benchmarks import PARTS
    from diff2i2p_core.benchmarks.measure import cases_of, machine, measure, process_peak_mb, report

    options.check_device(device)
    torch.set_num_threads(threads)
    parts = []
    for name in PARTS if part == "all" else [part]:
        timings = [measure(case, device, runs) for case in cases_of(name)]
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

    table = Table(title=part)
    table.add_column("case")
    for heading in (
        "median ms",
        "quartiles ms",
        "fastest ms",
        "CPU ms",
        "aim ms",
        "released code ms",
        "GPU MB",
    ):
        table.add_column(heading, justify="right")
    for t in timings:
        table.add_row(
            t.name,
            f"{t.median_ms:.1f}",
            f"{t.lower_quartile_ms:.1f} - {t.upper_quartile_ms:.1f}",
            f"{t.fastest_ms:.1f}",
            f"{t.cpu_ms:.1f}",
            *("" if value is None else f"{value:.0f}" for value in (t.aim_ms, t.released_ms, t.gpu_peak_mb)),
        )
    Console().print(table)
