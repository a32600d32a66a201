"""`diff2i2p eval`: the papers' metrics for the output of `diff2i2p test` or of the released test.py."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diff2i2p_core.cli import options
from diff2i2p_core.cli.progress import progress_bars
from diff2i2p_core.errors import InputError
from diff2i2p_core.io.files import check_output_folder

if TYPE_CHECKING:
    from diff2i2p_core.evaluation.protocol import Protocol
    from diff2i2p_core.evaluation.registration import BenchmarkSummary


def eval_(
    cache: Annotated[Path, typer.Argument(help="Folder of SCENE/PAIR.npz files.", show_default=False)],
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Thresholds of 7scenes or rgbd_scenes_v2; by default those of the tested benchmark."
        ),
    ] = None,
    corrected: Annotated[
        bool, typer.Option("--corrected", help="Without the oddities of the released evaluation.")
    ] = False,
    num_corr: Annotated[
        int | None, typer.Option(min=4, help="Maximum number of matches, best by score.")
    ] = None,
    solver: Annotated[
        str, typer.Option(help="paper (P3P RANSAC, 50,000 iterations) or poselib (by score).")
    ] = "paper",
    test_epoch: Annotated[
        int | None, typer.Option(help="Evaluate CACHE/epoch-N, written by `test --test-epoch N`.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Number of pairs at once; by default all cores.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for eval.json, eval.md and report.html.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Compute inlier ratio, feature matching recall, registration recall and pose errors, per scene."""
    from diff2i2p_core.evaluation import benchmark
    from diff2i2p_core.evaluation.cache import read_info
    from diff2i2p_core.evaluation.protocol import PROTOCOLS, find_protocol
    from diff2i2p_core.evaluation.registration import summarize
    from diff2i2p_core.reports.benchmark_report import write_benchmark_report

    if test_epoch is not None:
        cache = cache / f"epoch-{test_epoch}"
    if solver not in ("paper", "poselib"):
        raise InputError(f"--solver '{solver}': unknown; use paper or poselib")
    if out is not None:
        check_output_folder(out, files=("eval.json", "eval.md", "report.html"))
    info = read_info(cache)
    tested = info.benchmark if info is not None and info.benchmark in PROTOCOLS else "7scenes"
    selected = find_protocol(protocol or tested)
    selected = (selected.corrected() if corrected else selected).model_copy(
        update={"solver": solver, "num_corr": num_corr}
    )
    with progress_bars(counts=True) as progress:
        tell = partial(progress, "evaluating")
        tell(0, None)
        metrics = benchmark.evaluate_folder(
            cache,
            selected,
            threads or os.cpu_count() or 1,
            tell,
        )
    summary = summarize(metrics)
    content = benchmark.as_json(cache, info, selected, summary)
    if info is not None and len(metrics) != info.pairs:
        count = f"{len(metrics)} of {info.pairs} pairs"
        typer.echo(f"{cache}: {count}; run `diff2i2p test` again for the rest", err=True)
    if out is not None:
        name = info.benchmark if info is not None else selected.name
        benchmark.write_json(out / "eval.json", content, metrics)
        benchmark.write_markdown(out / "eval.md", f"Registration: {cache}", selected, summary, name)
        write_benchmark_report(out / "report.html", cache, info, selected, metrics, summary)
    if as_json:
        typer.echo(json.dumps(content, allow_nan=False))
    else:
        _print(summary, selected)


def _print(summary: BenchmarkSummary, protocol: Protocol) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from diff2i2p_core.evaluation import benchmark

    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("scene", no_wrap=True)
    columns = [c for c in benchmark.COLUMNS if c.key not in ("median_rre_deg", "median_rte_m")]
    for column in columns:
        table.add_column(
            column.heading.replace("median", "med.").replace(" ", "\n", 1), justify="right", no_wrap=True
        )
    rows = benchmark.table_rows(summary, columns)
    for number, (name, cells) in enumerate(rows, start=2):
        table.add_row(name, *cells, end_section=number == len(rows))
    Console().print(table)
    curve = ", ".join(f"{100 * value:.1f} ({cm})" for cm, value in benchmark.rr_curve(summary))
    typer.echo(f"RR % (RMSE below, cm): {curve}")
    typer.echo(benchmark.protocol_words(protocol))
