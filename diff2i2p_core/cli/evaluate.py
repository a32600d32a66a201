"""`diff2i2p evaluate localization`: localizes one folder's images in a map of another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from diff2i2p_core.cli import options
from diff2i2p_core.cli.progress import progress_bars
from diff2i2p_core.io.files import check_output_folder

app = typer.Typer(help="Measure errors against true poses.", no_args_is_help=True)


@app.command("localization")
def localization(
    map_frames: Annotated[
        Path, typer.Argument(help="Posed RGB-D folder to build the map from.", show_default=False)
    ],
    query_frames: Annotated[
        Path,
        typer.Argument(
            help="Posed RGB-D folder to localize; several cameras: a folder with one of each.",
            show_default=False,
        ),
    ],
    matcher: options.MatcherName = "auto",
    weights: options.Weights = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of queries, evenly spread.")
    ] = None,
    map_range: Annotated[
        str, typer.Option(metavar="A:B[:STEP],...", help="Map frame numbers A to B, inclusive.")
    ] = ":",
    query_range: Annotated[str, typer.Option(metavar="A:B[:STEP],...", help="Query frame numbers.")] = ":",
    beside: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="Another place whose map is added; may be repeated."),
    ] = None,
    colors: Annotated[
        bool, typer.Option(help="Without, the clouds' colours are left out, as in maps of most lidars.")
    ] = True,
    track: Annotated[
        bool, typer.Option("--track", help="Track the camera from image to image by its velocity.")
    ] = False,
    align: Annotated[
        bool,
        typer.Option(help="Align poses to the map's colours; without, only the network is measured."),
    ] = True,
    depth: Annotated[bool, typer.Option("--depth", help="Use the depth of the images, too.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report, trajectory, summary and overlay.")
    ] = None,
    device: options.Device = "cpu",
    as_json: options.AsJson = False,
) -> None:
    """Build a map from one folder, and localize all images of another in it, without a prior or tracked."""
    from diff2i2p_core.evaluation.localize_frames import evaluate_frames
    from diff2i2p_core.reports.localization_files import FILES, write_results
    from diff2i2p_core.reports.report import headline

    if out is not None:
        check_output_folder(out, [map_frames, query_frames, *(beside or ())], FILES)
    with progress_bars() as progress, options.named(map_range="--map-range", query_range="--query-range"):
        result = evaluate_frames(
            map_frames,
            query_frames,
            weights,
            matcher=options.matcher(matcher),
            map_range=map_range,
            query_range=query_range,
            limit=limit,
            beside=beside or (),
            colors=colors,
            track=track,
            align=align,
            depth=depth,
            device=options.check_device(device),
            progress=progress,
            note=options.note,
        )
    if out is not None:
        write_results(out, f"Localization of {query_frames}", result)
    if as_json:
        typer.echo(json.dumps(result.as_dict()))
        return
    typer.echo(headline(result.summary))
    for name, camera in result.cameras.items():
        typer.echo(f"  {name} alone: {headline(camera.summary)}")
