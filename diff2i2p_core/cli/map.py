"""`diff2i2p map`: builds and joins map files, shows what is in them, and cuts grids from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diff2i2p_core.cli import options
from diff2i2p_core.cli.progress import progress_bars
from diff2i2p_core.errors import located

if TYPE_CHECKING:
    from diff2i2p_core.mapping.map_file import PointMap

app = typer.Typer(help="Build and join map files, show what is in them, cut grids.", no_args_is_help=True)

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
        Path | None,
        typer.Option(help="TUM file of camera poses in the cloud's frame, used as viewpoints."),
    ] = None,
    up: Annotated[
        str,
        typer.Option(
            help="Axis that points up in a cloud without trajectory: x y z -x -y -z; auto: from its planes."
        ),
    ] = "auto",
    origin: options.OriginText = None,
    matcher: options.MatcherName = "auto",
    weights: options.Weights = None,
    device: options.Device = "cpu",
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes on the CPU.", show_default="as many as speed it up"),
    ] = None,
    cluster: options.Cluster = None,
) -> None:
    """Build a map file with the features for matching images, from a cloud or a posed RGB-D folder.

    If it is interrupted, run the same command again to resume.
    """
    from diff2i2p_core.errors import InputError
    from diff2i2p_core.mapping.build_file import build_map
    from diff2i2p_core.mapping.viewpoints import AXES

    if up not in (*AXES, "auto"):
        raise InputError(f"--up '{up}': give one of {', '.join(AXES)}, or auto")
    with progress_bars() as progress, options.named(origin="--origin", cluster="--cluster"):
        point_map = build_map(
            source,
            out,
            matcher=options.matcher(matcher),
            weights=weights,
            trajectory=trajectory,
            up=up,
            origin=options.parse_origin(origin),
            device=options.check_device(device),
            jobs=jobs,
            cluster=cluster,
            progress=progress,
            note=options.note,
        )
    typer.echo(
        f"{out}: {point_map.sizes}, {len(point_map.cloud)} points at {point_map.spacing * 100:g} cm"
        + (f", weights {point_map.info.weights_name}" if "network" in point_map.kinds else "")
    )


@app.command("join")
def join(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Map file to write.", show_default=False)],
    maps: Annotated[
        list[Path],
        typer.Argument(metavar="MAP...", help="Map files with the same weights.", show_default=False),
    ],
    apart: Annotated[
        float | None,
        typer.Option(min=0, metavar="METRES", help="Place them side by side along x, this far apart."),
    ] = None,
) -> None:
    """Join several maps. They must be in one frame; with --apart, the result is in the frame of the first."""
    from diff2i2p_core.mapping.join import join_map_files

    joined = join_map_files(maps, out, apart)
    typer.echo(f"{out}: {joined.sizes}, {len(joined.cloud)} points from {len(maps)} maps")


@app.command("info")
def info(path: MapPath, as_json: options.AsJson = False) -> None:
    """Show what a map was built from, how large it is, and how much memory it takes."""
    from diff2i2p_core.mapping.map_file import load_map
    from diff2i2p_core.mapping.map_sizes import map_sizes

    point_map = load_map(path)
    size = map_sizes(point_map, path)
    for doubt in point_map.doubts:
        options.note(f"warning: {doubt}")
    if as_json:
        typer.echo(json.dumps({**point_map.info.as_dict(), **size}))
    else:
        typer.echo(f"{path}\n" + "\n".join(f"  {name:<9} {words}" for name, words in _rows(point_map, size)))


@app.command("grid")
def grid(
    path: MapPath,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER/NAME", help="Writes NAME.yaml and NAME.pgm.")
    ],
    band: Annotated[
        str, typer.Option(metavar="LOW,HIGH", help="Heights above the floor that a robot cannot pass, in m.")
    ] = "0.1,1.5",
    resolution: Annotated[float, typer.Option(min=0.005, help="Metres per cell.")] = 0.05,
    floor: Annotated[
        float | None,
        typer.Option(
            metavar="Z", help="Height of the floor in the map.", show_default="that below most views"
        ),
    ] = None,
) -> None:
    """Cut an occupancy grid for Nav2's map_server from a map, in the frame of the map."""
    from diff2i2p_core.io.occupancy_grid import FREE, OCCUPIED, grid_files, write_grid
    from diff2i2p_core.mapping.floor_grid import floor_grid
    from diff2i2p_core.mapping.map_file import load_map

    limits = options.parse_band(band)
    description, _ = grid_files(out, [path])
    point_map = load_map(path)
    with options.named(band="--band", resolution="--resolution", floor="--floor"), located(path):
        found, height = floor_grid(point_map, band=limits, resolution=resolution, floor=floor)
    write_grid(found, description)
    rows, columns = found.cells.shape
    typer.echo(
        f"{description}: {columns} x {rows} cells of {100 * resolution:g} cm, floor at z = {height:.2f} m, "
        f"{found.share(FREE):.0%} free, {found.share(OCCUPIED):.0%} occupied, the rest unknown"
    )


def _rows(point_map: PointMap, size: dict[str, Any]) -> Iterator[tuple[str, str]]:
    about, settings = point_map.info, point_map.info.settings
    low, high = size["extent"]
    extent = " x ".join(f"{b - a:.1f}" for a, b in zip(low, high, strict=True))
    corners = " to ".join("({:.1f}, {:.1f}, {:.1f})".format(*corner) for corner in (low, high))
    yield "source", f"{about.source}, built {about.created}"
    yield "map", f"{size['points']} points at {point_map.spacing * 100:g} cm, {extent} m, {corners}"
    if about.origin is not None:
        yield "origin", f"({', '.join(f'{value:.10g}' for value in about.origin)}) in the source"
    yield "matchers", ", ".join(size["matchers"])
    if point_map.rendered is not None:
        views, spacing = point_map.rendered.views.settings, 100 * point_map.rendered.spacing
        shown = point_map.rendered.look.shows
        yield (
            "views",
            f"{size['views']} of its {shown} with {size['view_features']} features, rendered from "
            f"{size['rendered_points']} points at {spacing:.1f} cm, up to {views.max_depth:g} m",
        )
    if size["submaps"]:
        yield (
            "weights",
            f"{about.weights_name} ({about.weights_id[:12]}), mode {about.mode}, "
            f"point features {about.point_features}",
        )
        yield (
            "submaps",
            f"{size['submaps']} with {size['submap_points']} points at {settings.spacing * 100:g} cm, up to "
            f"{settings.max_depth:g} m, {settings.horizontal_fov_deg:g} x {settings.vertical_fov_deg:g} deg",
        )
    yield "size", f"{size['bytes'] / 1e6:.1f} MB"
    yield "memory", f"{size['memory_bytes'] / 1e6:.0f} MB in addition to the networks"
