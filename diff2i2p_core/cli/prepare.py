"""`diff2i2p prepare`: raw recordings to benchmark pairs, and a look at the result."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diff2i2p_core.cli.progress import progress_bars
from diff2i2p_core.errors import InputError

if TYPE_CHECKING:
    from diff2i2p_core.datasets.recording import Recording
    from diff2i2p_core.pairs.metadata import Layout

app = typer.Typer(help="Raw recordings to benchmark pairs; check prepared sets.", no_args_is_help=True)

Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the set to write.", show_default=False)]
Window = Annotated[int, typer.Option(min=2, help="Consecutive frames of a cloud; one of them is an image.")]
Voxel = Annotated[float, typer.Option(min=0.001, help="Metres between a cloud's points.")]
MinOverlap = Annotated[
    float, typer.Option(min=0.01, max=1, help="Least part of an image's pixels that see the cloud.")
]
Gap = Annotated[int, typer.Option(min=0, help="Frames left out between subsets of one recording.")]
Val = Annotated[str, typer.Option(help="Last part of each recording, or names of scenes, with commas.")]
Test = Annotated[str, typer.Option(help="The same for the test subset.")]
Processes = Annotated[
    int | None, typer.Option(min=1, help="Default: the number of cores.", show_default=False)
]


@app.command("7scenes")
def seven_scenes(
    source: Annotated[
        Path,
        typer.Argument(metavar="SRC", help="Folder of scenes or zips, or one scene.", show_default=False),
    ],
    out: Out,
    window: Window = 25,
    voxel: Voxel = 0.025,
    min_overlap: MinOverlap = 0.5,
    gap: Gap = 25,
    val: Val = "0.15",
    processes: Processes = None,
) -> None:
    """7-Scenes as downloaded; the official split, with the end of each training recording as val."""
    from diff2i2p_core.datasets import seven_scenes as scenes

    _prepare(
        "7scenes",
        lambda work: scenes.seven_scenes(source, work),
        out,
        processes,
        window=window,
        voxel=voxel,
        min_overlap=min_overlap,
        gap=gap,
        val=_share(val, "--val"),
    )


@app.command("rgbd-scenes-v2")
def rgbd_scenes_v2(
    source: Annotated[
        Path,
        typer.Argument(metavar="SRC", help="Folder with imgs and pc, or their zips.", show_default=False),
    ],
    out: Out,
    window: Window = 25,
    voxel: Voxel = 0.025,
    min_overlap: MinOverlap = 0.3,
    processes: Processes = None,
) -> None:
    """RGB-D Scenes V2 as downloaded; the papers' split of its scenes."""
    from diff2i2p_core.datasets import rgbd_scenes_v2 as scenes

    _prepare(
        "rgbd-scenes-v2",
        lambda work: scenes.rgbd_scenes_v2(source, work),
        out,
        processes,
        layout="rgbd_scenes_v2",
        window=window,
        voxel=voxel,
        min_overlap=min_overlap,
    )


@app.command("tum")
def tum_sequences(
    source: Annotated[
        Path,
        typer.Argument(metavar="SRC", help="Unpacked sequence, or a folder of such.", show_default=False),
    ],
    out: Out,
    camera: Annotated[
        str | None, typer.Option(help="fx,fy,cx,cy of rectified images not from freiburg1, 2 or 3.")
    ] = None,
    window: Window = 25,
    voxel: Voxel = 0.025,
    min_overlap: MinOverlap = 0.5,
    gap: Gap = 25,
    val: Val = "0.15",
    test: Test = "0.15",
    processes: Processes = None,
) -> None:
    """Sequences of the TUM RGB-D benchmark, each a scene."""
    from diff2i2p_core.datasets.tum import tum

    _prepare(
        "tum",
        lambda work: tum(source, camera),
        out,
        processes,
        window=window,
        voxel=voxel,
        min_overlap=min_overlap,
        gap=gap,
        val=_share(val, "--val"),
        test=_share(test, "--test"),
    )


@app.command()
def frames(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC", help="Posed RGB-D folder, or a folder of such folders.", show_default=False
        ),
    ],
    out: Out,
    window: Window = 25,
    voxel: Voxel = 0.025,
    min_overlap: MinOverlap = 0.5,
    gap: Gap = 25,
    val: Val = "0.15",
    test: Test = "0.15",
    processes: Processes = None,
) -> None:
    """Posed RGB-D folders, each a scene."""
    from diff2i2p_core.datasets.recording_frames import folders

    _prepare(
        "frames",
        lambda work: folders(source),
        out,
        processes,
        window=window,
        voxel=voxel,
        min_overlap=min_overlap,
        gap=gap,
        val=_share(val, "--val"),
        test=_share(test, "--test"),
    )


@app.command()
def rosbag(
    source: Annotated[
        Path, typer.Argument(metavar="BAG", help="rosbag2 folder, .mcap or .db3.", show_default=False)
    ],
    out: Out,
    image: Annotated[str | None, typer.Option(help="Topic of the images, raw or compressed.")] = None,
    depth: Annotated[str | None, typer.Option(help="Topic of depth images or of clouds.")] = None,
    camera_info: Annotated[str | None, typer.Option(help="Topic of the images' calibration.")] = None,
    pose: Annotated[str | None, typer.Option(help="Topic of poses or odometry that goes before /tf.")] = None,
    world: Annotated[
        str | None, typer.Option(help="Frame of the map; by default the topmost above the camera.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Take every so many images.")] = 1,
    apart: Annotated[
        float, typer.Option(min=0, help="Seconds that an image and its depth may be apart.")
    ] = 0.02,
    frames_only: Annotated[
        bool, typer.Option("--frames-only", help="Write OUT/frames and no benchmark pairs.")
    ] = False,
    window: Window = 25,
    voxel: Voxel = 0.025,
    min_overlap: MinOverlap = 0.5,
    gap: Gap = 25,
    val: Val = "0.15",
    test: Test = "0.15",
    processes: Processes = None,
) -> None:
    """A ROS 2 bag: its frames as the posed RGB-D folder OUT/frames, and the pairs that these give."""
    from diff2i2p_core.datasets.recording_frames import FolderRecording
    from diff2i2p_core.datasets.rosbag import BagTopics, export_bag, left_out
    from diff2i2p_core.io.files import full_disk_explained

    topics = BagTopics(image, depth, camera_info, pose, world, every, apart)
    with progress_bars(counts=True, transient=False) as progress, full_disk_explained(out):
        folder = export_bag(source, out / "frames", topics, progress)
    recording = FolderRecording(folder, source.resolve().stem)
    missing = "".join(f", {count} left out: {why} at their time" for why, count in left_out(folder).items())
    typer.echo(f"{folder}: {len(recording.numbers)} frames{missing}")
    if not frames_only:
        _prepare(
            "rosbag",
            lambda work: [recording],
            out,
            processes,
            window=window,
            voxel=voxel,
            min_overlap=min_overlap,
            gap=gap,
            val=_share(val, "--val"),
            test=_share(test, "--test"),
        )


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The set.", show_default=False)],
    sample: Annotated[int, typer.Option(min=1, help="Pairs a subset whose overlap is recomputed.")] = 60,
    report: Annotated[
        Path | None, typer.Option(help="HTML page to write; default DIR/check.html.", show_default=False)
    ] = None,
) -> None:
    """Files, shapes, transforms, overlaps, checksums, disjoint subsets; pairs as pictures on a page."""
    from diff2i2p_core.datasets.check import check_set
    from diff2i2p_core.reports.dataset_report import write_dataset_report

    page = report or folder / "check.html"
    with progress_bars(counts=True, transient=False) as progress:
        found = check_set(folder, sample=sample, progress=progress)
    if found.readable:
        write_dataset_report(page, folder, found)
        typer.echo(f"{page}: pairs as pictures", err=True)
    if found.problems:
        for problem in found.problems[1:20]:
            typer.echo(problem, err=True)
        many = f"{len(found.problems)} problem{'s' * (len(found.problems) > 1)} in all"
        raise InputError(f"{found.problems[0]}; prepare the set again ({many})")
    pairs = ", ".join(f"{len(entries)} {subset}" for subset, entries in found.subsets.items())
    typer.echo(f"{folder}: sound, pairs: {pairs}")


@app.command()
def metadata(
    pickles: Annotated[
        list[Path],
        typer.Argument(metavar="PKL...", help="ROOT/metadata/train-full.pkl and so on.", show_default=False),
    ],
) -> None:
    """A published benchmark's pickles as JSON Lines beside them; nothing in a pickle is run."""
    from diff2i2p_core.pairs.metadata import convert_metadata

    for path in pickles:
        if path.suffix != ".pkl" or path.resolve().parent.name != "metadata":
            raise InputError(f"{path}: not ROOT/metadata/NAME.pkl; give a metadata file of a benchmark")
        layout: Layout = "7scenes" if path.stem.endswith("-full") else "rgbd_scenes_v2"
        subset = path.stem.removesuffix("-full")
        typer.echo(convert_metadata(path.resolve().parent.parent, layout, subset))


def _share(text: str, option: str) -> float | tuple[str, ...]:
    """A share such as 0.15, or names."""
    try:
        share = float(text)
    except ValueError:
        return tuple(text.split(","))
    if not 0 <= share < 1:
        raise InputError(f"{option} {text}: give a share below 1, or names of scenes")
    return share


def _prepare(
    kind: str,
    find: Callable[[Path], Sequence[Recording]],
    out: Path,
    processes: int | None,
    layout: Layout = "7scenes",
    **settings: Any,
) -> None:
    from diff2i2p_core.datasets.prepare import prepare
    from diff2i2p_core.datasets.settings import PreparationSettings

    with progress_bars(counts=True, transient=False) as progress:
        dataset = prepare(
            kind,
            find,
            out,
            PreparationSettings(**settings),
            layout=layout,
            processes=processes or os.cpu_count() or 1,
            progress=progress,
        )
    pairs = ", ".join(f"{counts['pairs']} {subset}" for subset, counts in dataset.subsets.items())
    typer.echo(f"{out}: {len(dataset.scenes)} scenes, pairs: {pairs}")
