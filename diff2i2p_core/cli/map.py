"""`diff2i2p map`: build and join map files, and say what is in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from diff2i2p_core.cli import options
from diff2i2p_core.cli.progress import progress_bars

app = typer.Typer(help="Build and join map files, say what is in them.", no_args_is_help=True)

MapPath = Annotated[Path, typer.Argument(metavar="MAP", help="Map file.", show_default=False)]


@app.command("build")
def build(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE", help="Cloud file, or folder of posed RGB-D frames.", show_default=False
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
        f"{out}: {len(point_map.submaps)} submaps, {len(point_map.cloud)} points at "
        f"{point_map.spacing * 100:g} cm, weights {point_map.info.weights_name}"
    )


@app.command("join")
def join(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Map file to write.", show_default=False)],
    maps: Annotated[
        list[Path],
        typer.Argument(metavar="MAP...", help="Map files of the same weights.", show_default=False),
    ],
    apart: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="METRES", help="Place them side by side along x, so far from each other."
        ),
    ] = None,
) -> None:
    """One map of several. Their frames are taken as common; with --apart they keep the first one's."""
    from diff2i2p_core.mapping.join import join_map_files

    joined = join_map_files(maps, out, apart)
    typer.echo(f"{out}: {len(joined.submaps)} submaps, {len(joined.cloud)} points of {len(maps)} maps")


@app.command("info")
def info(path: MapPath, as_json: options.AsJson = False) -> None:
    """What a map was made from and with, how large it is, and what memory it takes."""
    from diff2i2p_core.mapping.map_file import load_map
    from diff2i2p_core.mapping.packed import CPU_BUDGET, pack

    point_map = load_map(path)
    about, blocks = point_map.info, pack(point_map.submaps).blocks
    low, high = (
        end.astype(float).round(2) + 0.0
        for end in (point_map.cloud.points.min(axis=0), point_map.cloud.points.max(axis=0))
    )
    nodes = sum(block.tensors["nodes"].numel() for block in blocks)
    features = 2 * sum(block.num_bytes for block in blocks)
    memory = point_map.cloud.points.nbytes + 2 * nodes + min(features, CPU_BUDGET)
    size = {
        "points": len(point_map.cloud),
        "submaps": len(point_map.submaps),
        "submap_points": sum(sum(block.num_points) for block in blocks),
        "superpoints": sum(sum(block.num_superpoints) for block in blocks),
        "extent": [low.tolist(), high.tolist()],
        "bytes": path.stat().st_size,
        "memory_bytes": memory,
    }
    if as_json:
        typer.echo(json.dumps({**about.as_dict(), **size}))
        return
    settings = about.settings
    view = (
        f"up to {settings.max_depth:g} m, {settings.horizontal_fov_deg:g} x {settings.vertical_fov_deg:g} deg"
    )
    extent = " x ".join(f"{b - a:.1f}" for a, b in zip(low, high, strict=True))
    corners = " to ".join("({:.1f}, {:.1f}, {:.1f})".format(*corner) for corner in (low, high))
    typer.echo(
        f"{path}\n"
        f"  source    {about.source}, built {about.created}\n"
        f"  weights   {about.weights_name} ({about.weights_id[:12]}), mode {about.mode}, "
        f"point features {about.point_features}\n"
        f"  map       {size['points']} points at {point_map.spacing * 100:g} cm, {extent} m, {corners}\n"
        f"  submaps   {size['submaps']} with {size['submap_points']} points "
        f"at {settings.spacing * 100:g} cm, {view}\n"
        f"  size      {path.stat().st_size / 1e6:.1f} MB\n"
        f"  memory    {memory / 1e6:.0f} MB beside the network's"
    )
