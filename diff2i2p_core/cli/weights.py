"""`diff2i2p weights`: what is installed, what is in a file, and conversion of published checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diff2i2p_core.errors import InputError

app = typer.Typer(help="Network weights: list, info, convert.", no_args_is_help=True)


@app.command("list")
def list_weights() -> None:
    """The weights that come with the package."""
    from diff2i2p_core.models.checkpoint import DEFAULT_WEIGHTS, read_config, resolve_weights, shipped_weights

    for name in shipped_weights():
        path = resolve_weights(name)
        config, notes = read_config(path)
        mark = " (default)" if name == DEFAULT_WEIGHTS else ""
        size = path.stat().st_size / 1e6
        typer.echo(
            f"{name}{mark}: {config.mode}, {config.point_features}, {size:.1f} MB, {notes.get('step')} steps"
        )


@app.command()
def info(weights: Annotated[str, typer.Argument(help="shipped name or file")]) -> None:
    """Configuration, size and notes of a weights file."""
    from diff2i2p_core.models.checkpoint import load_model, read_config, resolve_weights, weights_id

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
    """A published checkpoint to this project's format; no code in the file is run."""
    from diff2i2p_core.models.checkpoint import load_model, save_model

    if dataset not in ("7scenes", "rgbd_scenes_v2"):
        raise InputError(f"--dataset '{dataset}': unknown; use 7scenes or rgbd_scenes_v2")
    if out.suffix != ".safetensors":
        raise InputError(f"{out}: the format is chosen by the name; end it in .safetensors")
    model = load_model(source, dataset=dataset)  # type: ignore[arg-type]
    save_model(model, out, {"source": source.name}, half=half)
    typer.echo(f"{out}: {model.config.name}, {sum(p.numel() for p in model.parameters()):,} parameters")
