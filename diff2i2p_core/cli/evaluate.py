"""`diff2i2p evaluate localization`: images of one folder in a map of another, against the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from diff2i2p_core.cli import options
from diff2i2p_core.cli.progress import progress_bars

app = typer.Typer(help="Measure against the truth.", no_args_is_help=True)


@app.command("localization")
def localization(
    map_frames: Annotated[
        Path, typer.Argument(help="Posed RGB-D folder that makes the map.", show_default=False)
    ],
    query_frames: Annotated[Path, typer.Argument(help="Posed RGB-D folder to localize.", show_default=False)],
    weights: options.Weights = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many queries, evenly spread.")] = None,
    map_range: Annotated[
        str, typer.Option(metavar="A:B", help="Map frame numbers A to B, both included.")
    ] = ":",
    query_range: Annotated[str, typer.Option(metavar="A:B", help="Query frame numbers A to B.")] = ":",
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER", help="Another place to find the right one among: its map is put beside."
        ),
    ] = None,
    track: Annotated[
        bool, typer.Option("--track", help="Follow the camera from image to image, by its velocity.")
    ] = False,
    align: Annotated[
        bool,
        typer.Option(help="Align poses to the map's colours; without, the network alone is judged."),
    ] = True,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report, trajectory, summary and overlay.")
    ] = None,
    device: options.Device = "cpu",
    as_json: options.AsJson = False,
) -> None:
    """Build a map of one folder and localize every image of another in it, without prior or tracked."""
    from diff2i2p_core.evaluation.localization import (
        evenly,
        in_range,
        localize_frames,
        map_of_frames,
    )
    from diff2i2p_core.evaluation.trajectory import summarize
    from diff2i2p_core.io.rgbd_folder import PosedFrames
    from diff2i2p_core.localization.localizer import Localizer
    from diff2i2p_core.localization.network import Diff2I2PNetwork
    from diff2i2p_core.localization.settings import LocalizerSettings
    from diff2i2p_core.mapping.join import join_maps
    from diff2i2p_core.reports.localization_files import write_results
    from diff2i2p_core.reports.report import headline

    device = options.check_device(device)
    chosen = in_range(PosedFrames(map_frames), map_range, "--map-range")
    queries = PosedFrames(query_frames)
    numbers = evenly(in_range(queries, query_range, "--query-range"), limit)
    with progress_bars() as progress:
        model, point_map = map_of_frames(map_frames, chosen, weights, device=device, progress=progress)
        if beside:
            others = {
                f"--beside {path}": map_of_frames(
                    path, PosedFrames(path).numbers, weights, device=device, progress=progress
                )[1]
                for path in beside
            }
            point_map = join_maps({str(map_frames): point_map, **others}, apart=10.0)
        network = Diff2I2PNetwork(model, point_map)
        localizer = Localizer(point_map, [network], LocalizerSettings(align=align))
        results = localize_frames(
            localizer,
            queries,
            numbers,
            lambda n: progress("localizing", n, len(numbers)),
            track=track,
        )
    summary = summarize(results)
    if out is not None:
        about = {
            "map": f"{map_frames}, {len(chosen)} frames, {len(point_map.submaps)} submaps",
            **({"beside it": ", ".join(map(str, beside))} if beside else {}),
            "queries": f"{query_frames}, {len(numbers)} images, {'tracked' if track else 'without prior'}"
            + ("" if align else ", not aligned to colours"),
            "weights": f"{point_map.info.weights_name} ({point_map.info.weights_id[:12]})",
        }
        write_results(out, f"Localization of {query_frames}", about, queries, results, summary, point_map)
    typer.echo(json.dumps(summary) if as_json else headline(summary))
