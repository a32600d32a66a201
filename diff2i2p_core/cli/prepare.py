"""`diff2i2p prepare`: a command for each source in `datasets.sources`, and a check of the result."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from diff2i2p_core.cli.options import Cluster, named, note
from diff2i2p_core.cli.progress import progress_bars
from diff2i2p_core.errors import InputError
from diff2i2p_core.io.files import check_output, check_output_folder, full_disk_explained

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from diff2i2p_core.datasets.recording import Recording
    from diff2i2p_core.datasets.sources import Source


class _Commands(TyperGroup):
    """The commands of the sources, made when needed, before those in this file."""

    def list_commands(self, ctx: Any) -> list[str]:
        from diff2i2p_core.datasets.sources import SOURCES

        return [*SOURCES, *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        from diff2i2p_core.datasets.sources import SOURCES

        return _command(cmd_name) if cmd_name in SOURCES else super().get_command(ctx, cmd_name)


app = typer.Typer(
    cls=_Commands,
    help="Convert raw recordings to benchmark pairs; check prepared sets.",
    no_args_is_help=True,
)

Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the set to write.", show_default=False)]
Window = Annotated[int, typer.Option(min=2, help="Consecutive frames per cloud; one of them is the image.")]
Voxel = Annotated[float, typer.Option(min=0.001, help="Metres between a cloud's points.")]
MinOverlap = Annotated[
    float, typer.Option(min=0.01, max=1, help="Minimum fraction of an image's pixels that see the cloud.")
]
Gap = Annotated[int, typer.Option(min=0, help="Frames left out between subsets of one recording.")]
Val = Annotated[str, typer.Option(help="Last fraction of each recording, or names of scenes, with commas.")]
Test = Annotated[str, typer.Option(help="The same for the test subset.")]
FramesOnly = Annotated[bool, typer.Option("--frames-only", help="Write OUT/frames and no benchmark pairs.")]
Processes = Annotated[
    int | None,
    typer.Option(min=1, help="Number of processes; default: the number of cores.", show_default=False),
]
SETTINGS = {
    "window": Window,
    "voxel": Voxel,
    "min_overlap": MinOverlap,
    "gap": Gap,
    "val": Val,
    "test": Test,
}
"""Options that are fields of `PreparationSettings`."""
PARTS = ("data", "frames", "metadata", "work")
"""Folders in OUT. They are written or emptied, so no input may be in them."""


def _command(name: str) -> Any:
    """The command for a source, with its own options and the common ones."""
    from diff2i2p_core.datasets.sources import SPLITS, find_source

    source = find_source(name)
    parameters = {"path": _path_argument(source), "out": (Out, inspect.Parameter.empty)}
    parameters |= {key: _option(field) for key, field in source.options.model_fields.items()}
    if source.export:
        parameters["frames_only"] = (FramesOnly, False)
    for key, annotation in SETTINGS.items():
        if key in source.splits or key not in SPLITS:
            default = getattr(source.settings, key)
            parameters[key] = (annotation, str(default) if key in ("val", "test") else default)
    parameters |= {"processes": (Processes, None), "cluster": (Cluster, None)}

    def command(**values: Any) -> None:
        _prepare(name, source, **values)

    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for key, (annotation, default) in parameters.items()
        ]
    )
    one = typer.Typer(add_completion=False)
    one.command(name, help=source.summary)(command)
    return typer.main.get_command(one)


def _path_argument(source: Source) -> tuple[Any, Any]:
    argument = typer.Argument(metavar=source.path_name, help=source.path_help, show_default=False)
    return Annotated[Path, argument], inspect.Parameter.empty


def _option(field: FieldInfo) -> tuple[Any, Any]:
    """Annotation and default of the parameter for one field of a source's options."""
    minimum = next((bound.ge for bound in field.metadata if hasattr(bound, "ge")), None)
    return Annotated[field.annotation, typer.Option(min=minimum, help=field.description)], field.default


def _prepare(
    name: str,
    source: Source,
    path: Path,
    out: Path,
    processes: int | None,
    cluster: str | None,
    frames_only: bool = False,
    **values: Any,
) -> None:
    from diff2i2p_core.datasets.prepare import prepare
    from diff2i2p_core.datasets.recording_frames import FolderRecording
    from diff2i2p_core.datasets.settings import PreparationSettings

    def recordings(work: Path) -> Sequence[Recording]:
        found = source.recordings(path, frames if source.export else work, options)
        for recording in found:
            for line in recording.notes if isinstance(recording, FolderRecording) else ():
                note(line)
        return found

    if cluster is not None:
        path, out = path.absolute(), out.absolute()
    check_output_folder(out, [path])
    for part in PARTS:
        check_output_folder(out / part, [path, *path.resolve().parents])
    options = source.options(**{key: values.pop(key) for key in source.options.model_fields})
    frames = out / "frames"
    if source.export:
        with progress_bars(counts=True, transient=False) as progress, full_disk_explained(out):
            line = source.export(path, frames, options, progress)
        typer.echo(f"{frames}: {line}")
        if frames_only:
            return
    values |= {key: _fraction(values[key], f"--{key}") for key in ("val", "test") if key in values}
    with progress_bars(counts=True, transient=False) as progress, named(cluster="--cluster"):
        dataset = prepare(
            name,
            recordings,
            out,
            PreparationSettings(**source.settings.model_dump() | values),
            layout=source.layout,
            processes=processes or os.cpu_count() or 1,
            cluster=cluster,
            progress=progress,
        )
    pairs = ", ".join(f"{counts['pairs']} {subset}" for subset, counts in dataset.subsets.items())
    typer.echo(f"{out}: {len(dataset.scenes)} scenes, pairs: {pairs}")


def _fraction(text: str, option: str) -> float | tuple[str, ...]:
    """A fraction such as 0.15, or names."""
    try:
        fraction = float(text)
    except ValueError:
        return tuple(text.split(","))
    if not 0 <= fraction < 1:
        raise InputError(f"{option} {text}: give a fraction below 1, or names of scenes")
    return fraction


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The set.", show_default=False)],
    sample: Annotated[int, typer.Option(min=1, help="Pairs per subset whose overlap is recomputed.")] = 60,
    report: Annotated[
        Path | None, typer.Option(help="HTML page to write; default DIR/check.html.", show_default=False)
    ] = None,
) -> None:
    """Check files, shapes, transforms, overlaps, checksums, disjoint subsets. Writes a page with pictures."""
    from diff2i2p_core.datasets.check import check_set
    from diff2i2p_core.reports.dataset_report import write_dataset_report

    page = report or folder / "check.html"
    if folder.is_dir():
        check_output(page, [file for file in folder.rglob("*") if file.suffix != ".html"])
    with progress_bars(counts=True, transient=False) as progress:
        result = check_set(folder, sample=sample, progress=progress)
    if result.readable:
        write_dataset_report(page, folder, result)
        typer.echo(f"{page}: pairs as pictures", err=True)
    for line in result.published_counts():
        typer.echo(line)
    if result.problems:
        for problem in result.problems[1:20]:
            typer.echo(problem, err=True)
        many = f"{len(result.problems)} problem{'s' * (len(result.problems) > 1)} in all"
        raise InputError(f"{result.problems[0]}; prepare the set again ({many})")
    pairs = ", ".join(f"{len(entries)} {subset}" for subset, entries in result.subsets.items())
    typer.echo(f"{folder}: valid, pairs: {pairs}")


@app.command()
def download(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="7scenes or rgbd_scenes_v2.", show_default=False)
    ],
    out: Out,
    source: Annotated[
        Path | None, typer.Option("--from", help="The archive, downloaded elsewhere.", show_default=False)
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Another address for the archive.", show_default=False)
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the downloaded archive.")] = False,
) -> None:
    """Download the papers' pairs of a benchmark: a copy at huggingface.co/datasets/prajnan/preprocessed_2d3d.

    Run it again to resume. Sizes and checksums of the files are checked, and the number of pairs is compared
    with the papers'. The terms of the raw recordings apply: 7-Scenes is for non-commercial research only.
    """
    from diff2i2p_core.cli.progress import download_bar
    from diff2i2p_core.datasets.benchmark_download import fetch_benchmark
    from diff2i2p_core.datasets.check import published_counts
    from diff2i2p_core.pairs.benchmarks import BENCHMARKS

    published = [known for known, facts in BENCHMARKS.items() if facts.pairs]
    layout = next((known for known in published if known == name), None)
    if layout is None:
        raise InputError(f"'{name}': no published pairs; use one of {', '.join(published)}")
    if source is not None and url is not None:
        raise InputError("--from and --url: both give the archive; give one")
    check_output_folder(out, [source])
    for part in ("data", "metadata"):
        check_output_folder(out / part, [] if source is None else [source, *source.resolve().parents])
    with download_bar(BENCHMARKS[layout].archive) as downloading, progress_bars(counts=True) as bars:
        pairs = fetch_benchmark(
            layout,
            out,
            source=source,
            url=url,
            keep=keep,
            downloading=downloading,
            unpacking=partial(bars, "unpacking"),
        )
    typer.echo(f"{out}: {BENCHMARKS[layout].title}")
    for line in published_counts(layout, pairs):
        typer.echo(line)


@app.command()
def metadata(
    pickles: Annotated[
        list[Path],
        typer.Argument(metavar="PKL...", help="ROOT/metadata/train-full.pkl and so on.", show_default=False),
    ],
) -> None:
    """Convert a published benchmark's pickles to JSON Lines beside them. No code in them is run."""
    from diff2i2p_core.pairs.metadata import convert_metadata

    for path in pickles:
        typer.echo(convert_metadata(path))
