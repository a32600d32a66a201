"""`diff2i2p eval`: the papers' metrics for the output of `diff2i2p test` or of the released test.py."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
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
    from diff2i2p_core.evaluation.result import Result


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
    acceptance_radius: Annotated[
        float | None, typer.Option(help="Metres of an inlier (IR); the default is the protocol's.")
    ] = None,
    inlier_ratio: Annotated[
        float | None, typer.Option(help="Inlier ratio of a matched pair (FMR), 0 to 1; the same.")
    ] = None,
    rmse: Annotated[
        float | None, typer.Option(help="RMSE in metres of a registered pair (RR); the same.")
    ] = None,
    rre_deg: Annotated[
        float | None, typer.Option(help="Registered is below this rotation error, instead of by RMSE.")
    ] = None,
    rte_m: Annotated[
        float | None, typer.Option(help="The same for the translation; with both, both must be below.")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(help="RANSAC iterations of the solver `paper`; by default 50,000.")
    ] = None,
    reprojection_px: Annotated[
        float | None, typer.Option(help="Pixels of an inlier of the pose solver; by default 8.")
    ] = None,
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
    cluster: options.Cluster = None,
    out: Annotated[Path | None, typer.Option(help="Folder for eval.json, eval.md and report.html.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Compute inlier ratio, feature matching recall, registration recall and pose errors, per scene."""
    from diff2i2p_core.evaluation import benchmark
    from diff2i2p_core.evaluation.cache import read_info
    from diff2i2p_core.evaluation.protocol import PROTOCOLS, find_protocol
    from diff2i2p_core.evaluation.result import evaluate_folder
    from diff2i2p_core.reports.benchmark_report import write_benchmark_report

    if test_epoch is not None:
        cache = cache / f"epoch-{test_epoch}"
    if solver not in ("paper", "poselib"):
        raise InputError(f"--solver '{solver}': unknown; use paper or poselib")
    if iterations is not None and solver != "paper":
        raise InputError(f"--iterations: only for --solver paper; {solver} stops by itself")
    if out is not None:
        check_output_folder(out, files=("eval.json", "eval.md", "report.html"))
    info = read_info(cache)
    tested = info.benchmark if info is not None and info.benchmark in PROTOCOLS else "7scenes"
    selected = find_protocol(protocol or tested)
    values = {
        "acceptance_radius": acceptance_radius,
        "inlier_ratio": inlier_ratio,
        "rmse": rmse,
        "rre_deg": rre_deg,
        "rte_m": rte_m,
        "iterations": iterations,
        "reprojection_px": reprojection_px,
    }
    selected = _changed(selected.corrected() if corrected else selected, values).model_copy(
        update={"solver": solver, "num_corr": num_corr}
    )
    with progress_bars(counts=True) as progress, options.named(cluster="--cluster"):
        tell = partial(progress, "evaluating")
        tell(0, None)
        results = evaluate_folder(cache, selected, threads or os.cpu_count() or 1, tell, cluster)
    metrics = results[0].metrics
    content = benchmark.as_json(cache, info, results)
    if info is not None and len(metrics) != info.pairs:
        count = f"{len(metrics)} of {info.pairs} pairs"
        typer.echo(f"{cache}: {count}; run `diff2i2p test` again for the rest", err=True)
    if out is not None:
        benchmark.write_json(out / "eval.json", content, metrics)
        benchmark.write_markdown(out / "eval.md", f"Registration: {cache}", results, info)
        write_benchmark_report(out / "report.html", cache, info, results)
    if as_json:
        typer.echo(json.dumps(content, allow_nan=False))
    else:
        _print(results)


def _changed(protocol: Protocol, values: dict[str, float | None]) -> Protocol:
    """The protocol with the values that are given; InputError names the option of a bad one."""
    from pydantic import ValidationError

    given = {key: value for key, value in values.items() if value is not None}
    try:
        return protocol.changed(**given)
    except ValidationError as error:
        problem = error.errors()[0]
        option = f"--{str(problem['loc'][0]).replace('_', '-')}"
        raise InputError(f"{option} {problem['input']:g}: {problem['msg'].lower()}") from None


def _print(results: Sequence[Result]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from diff2i2p_core.evaluation import benchmark
    from diff2i2p_core.evaluation.protocol import thresholds_words

    summary = results[0].summary
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
    typer.echo(benchmark.protocol_words(results[0].protocol))
    for other in results[1:]:
        mean = other.summary.mean
        scores = ", ".join(f"{key.upper()} {100 * mean[key]:.1f}" for key in ("ir", "fmr", "rr"))
        typer.echo(f"{scores} % at {thresholds_words(other.protocol)}")
    if line := summary.resources_words():
        typer.echo(line)
