"""`diff2i2p demo`: localizes a sample through the ROS 2 node over DDS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diff2i2p_core.cli import options

if TYPE_CHECKING:
    from rich.table import Table

    from diff2i2p_core.evaluation.trajectory import QueryResult


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("out/demo"),
    data: Annotated[
        Path | None, typer.Option(help="Posed RGB-D folder to use instead of the embedded room.")
    ] = None,
    map_until: Annotated[
        int | None,
        typer.Option(help="With --data: last frame number for the map (default: 3/4 of the frames)."),
    ] = None,
    weights: options.Weights = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of images, evenly spread.")] = None,
) -> None:
    """Start the ROS 2 node, play a sequence to it over DDS, and compare /tf with the true poses."""
    import time

    from rich.console import Console

    from diff2i2p_core.demo.demo_run import run_demo
    from diff2i2p_core.reports.localization_files import FILES
    from diff2i2p_core.reports.report import headline

    started = time.monotonic()
    console = Console(highlight=False, soft_wrap=True)
    with console.status("") as status:

        def progress(what: str, done: int, total: int | None) -> None:
            status.update(what if total is None else f"{what} {done}/{total}")

        result = run_demo(
            out,
            data,
            map_until=map_until,
            weights=weights,
            limit=limit,
            say=console.print,
            progress=progress,
        )
    console.print(_table(result.results))
    console.print(headline(result.summary))
    latency = result.summary.latency_ms.median
    if latency is not None:
        console.print(f"Latency from image to transform: median {latency:.0f} ms.")
    written = ", ".join(str(out / name) for name in FILES if (out / name).exists())
    console.print(f"Took {time.monotonic() - started:.0f} s. Results: {written}")
    if result.summary.localized == 0:
        raise typer.Exit(3)


def _table(results: Sequence[QueryResult]) -> Table:
    """One row per image."""
    from rich.table import Table

    from diff2i2p_core.reports.plots import grade

    colors = {"good": "green", "fair": "yellow", "poor": "red", "none": "red"}
    table = Table("frame", "position error", "rotation error", "inliers", "latency", "result")
    for r in results:
        metres, degrees = r.translation_error_m, r.rotation_error_deg
        words = "localized" if r.map_from_camera is not None else r.reason
        table.add_row(
            str(r.number),
            "" if metres is None else f"{100 * metres:.1f} cm",
            "" if degrees is None else f"{degrees:.2f} deg",
            "" if r.num_inliers is None else str(r.num_inliers),
            "" if r.latency_ms is None else f"{r.latency_ms:.0f} ms",
            words,
            style=colors[grade(r)],
        )
    return table
