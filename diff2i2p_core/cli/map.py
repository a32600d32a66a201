"""`diff2i2p map`: build map files and say what is in them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from diff2i2p_core.cli import options
from diff2i2p_core.cli.progress import progress_bars

app = typer.Typer(help="Build map files, say what is in them.", no_args_is_help=True)

MapPath = Annotated[Path, typer.Argument(metavar="MAP", help="Map file.", show_default=False)]


@app.command("build")
def build(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="CLOUD", help="Cloud file, or folder of posed RGB-D frames.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="MAP", help="Map file to write.")],
    trajectory: Annotated[
        Path | None, typer.Option(help="TUM file of camera poses in the cloud's frame, to place submaps.")
    ] = None,
    up: Annotated[
        str, typer.Option(help="Which way is up in a cloud without trajectory: x y z -x -y -z.")
    ] = "z",
    weights: options.Weights = None,
    device: options.Device = "cpu",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Worker processes on the CPU.", show_default="as many as pay")
    ] = None,
) -> None:
    """A map file with submaps and cached features, from a cloud or a posed RGB-D folder.

    Stopped, the same command goes on where it was.
    """
    from diff2i2p_core.errors import InputError
    from diff2i2p_core.mapping.build_file import build_map

    if up not in ("x", "y", "z", "-x", "-y", "-z"):
        raise InputError(f"--up '{up}': give one of x, y, z, -x, -y, -z")
    with progress_bars() as progress:
        point_map = build_map(
            source,
            out,
            weights=weights,
            trajectory=trajectory,
            up=up,
            device=options.check_device(device),
            jobs=jobs,
            progress=progress,
            note=lambda line: typer.echo(line, err=True),
        )
    typer.echo(
        f"{out}: {len(point_map.submaps)} submaps, {len(point_map.points)} points at "
        f"{point_map.info.settings.voxel * 100:g} cm, weights {point_map.info.weights_name}"
    )


@app.command("info")
def info(path: MapPath, as_json: options.AsJson = False) -> None:
    """What a map was made from and with, and how large it is."""
    from diff2i2p_core.mapping.map_file import load_info

    about, counts = load_info(path)
    if as_json:
        typer.echo(json.dumps({**asdict(about), **counts, "bytes": path.stat().st_size}))
        return
    settings = about.settings
    view = (
        f"up to {settings.max_depth:g} m, {settings.horizontal_fov_deg:g} x {settings.vertical_fov_deg:g} deg"
    )
    typer.echo(
        f"{path}\n"
        f"  source    {about.source}, built {about.created}\n"
        f"  weights   {about.weights_name} ({about.weights_id[:12]}), mode {about.mode}, "
        f"point features {about.point_features}\n"
        f"  map       {counts['points']} points at {settings.voxel * 100:g} cm\n"
        f"  submaps   {counts['submaps']} with {counts['submap_points']} points, {view}\n"
        f"  size      {path.stat().st_size / 1e6:.1f} MB"
    )
