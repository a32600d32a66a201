"""`diff2i2p demo`: the main job on a sample, through the ROS 2 node over DDS."""

from __future__ import annotations

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
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many images, evenly spread.")] = None,
) -> None:
    """Start the ROS 2 node, play a sequence to it over DDS, read /tf and compare with the truth."""
    import time

    from rich.console import Console

    from diff2i2p_core.demo.demo_run import localize_over_ros
    from diff2i2p_core.demo.node_process import check_ros
    from diff2i2p_core.demo.sample import embedded_sample, folder_sample
    from diff2i2p_core.evaluation.localization import map_of_frames
    from diff2i2p_core.evaluation.trajectory import summarize
    from diff2i2p_core.mapping.map_file import save_map
    from diff2i2p_core.reports.localization_files import write_results
    from diff2i2p_core.reports.report import headline

    check_ros()
    console = Console(highlight=False, soft_wrap=True)
    started = time.monotonic()

    if data is None:
        console.print("1/4 rendering the sample: a synthetic room ...")
        sample = embedded_sample(out / "sample")
    else:
        console.print(f"1/4 reading {data} ...")
        sample = folder_sample(data, map_until)
    sample = sample.limited(limit)
    map_path = out / "demo.map"
    console.print(
        f"    {sample.name}: {len(sample.map_numbers)} frames make the map, "
        f"{len(sample.query_numbers)} images are localized in it"
    )

    console.print("2/4 building the map ...")
    with console.status("") as status:
        _, point_map = map_of_frames(
            sample.frames.folder,
            sample.map_numbers,
            weights,
            progress=lambda what, done, total: status.update(f"{what} {done}/{total}"),
        )
        save_map(point_map, map_path)
    console.print(
        f"    {len(point_map.submaps)} submaps, {len(point_map.cloud)} points, "
        f"weights {point_map.info.weights_name}"
    )

    console.print("3/4 starting the ROS 2 node; playing the images to it over DDS ...")
    with console.status("waiting for the node") as status:
        results = localize_over_ros(
            sample,
            map_path,
            out / "log",
            weights=weights,
            progress=lambda done: status.update(f"image {done}/{len(sample.query_numbers)}"),
        )

    console.print("4/4 comparing the poses read from /tf with the truth ...")
    summary = summarize(results)
    about = {
        "sample": sample.name,
        "map": f"{len(sample.map_numbers)} frames up to {sample.map_numbers[-1]}, "
        f"{len(point_map.submaps)} submaps",
        "images": f"{len(results)} from frame {sample.query_numbers[0]} on, played to the node one by one",
        "poses": "read from /tf by another process; the node may use its last pose as a prior",
        "latency": "from publishing an image to hearing its transform, over DDS",
        "weights": f"{point_map.info.weights_name} ({point_map.info.weights_id[:12]})",
    }
    write_results(out, "Diff2I2P localization demo", about, sample.frames, results, summary, point_map)
    console.print(_table(results))
    console.print(headline(summary))
    latency = summary["latency_ms"]["median"]
    if latency is not None:
        console.print(f"Latency from image to transform: median {latency:.0f} ms.")
    written = [out / name for name in ("report.html", "overlay.png", "summary.json", "trajectory.tum")]
    shown = ", ".join(str(path) for path in written if path.exists())
    console.print(f"Took {time.monotonic() - started:.0f} s. Results: {shown}")
    if summary["localized"] == 0:
        raise typer.Exit(3)


def _table(results: list[QueryResult]) -> Table:
    """A row per image."""
    from rich.table import Table

    from diff2i2p_core.reports.plots import grade

    colors = {"good": "green", "fair": "yellow", "poor": "red", "none": "red"}
    table = Table("frame", "off by", "turned by", "inliers", "latency", "result")
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
