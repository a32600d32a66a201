"""`diff2i2p geometry`: train the features that match images with maps without colours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from diff2i2p_core.engine.geometry_config import GeometryConfig

app = typer.Typer(
    help="Features that match images with maps without colours: train, fine-tune on a place.",
    no_args_is_help=True,
)

Resume = Annotated[bool, typer.Option("--resume", help="resume from the run's last checkpoint")]


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML of the training, see training/configs")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, such as steps=1000")] = None,
    resume: Resume = False,
) -> None:
    """Train on many places: posed RGB-D folders and synthetic rooms.

    Ctrl-C and SIGTERM save a checkpoint first; the exit status is then 130 or 143.
    """
    from diff2i2p_core.engine.config_file import read_settings
    from diff2i2p_core.engine.geometry_config import GeometryConfig

    _run(read_settings(config, overrides or (), GeometryConfig), resume)


@app.command()
def tune(
    folder: Annotated[Path, typer.Argument(help="Posed RGB-D folder of the place")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run; the weights are in it.")],
    frames: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="FIRST LAST", help="Frames to use, such as 0 598; others are left for tests."),
    ] = None,
    steps: Annotated[int, typer.Option(help="Half a second to a second each on one core.")] = 1200,
    resume: Resume = False,
) -> None:
    """Fine-tune the shipped weights on one place, in less than half an hour on two cores.

    Give the weights to `diff2i2p map build --weights`, for a map of the same place.
    """
    from diff2i2p_core.engine.geometry_config import GeometryConfig, GeometryPlace, GeometryRates

    _run(
        GeometryConfig(
            name=out.name,
            output=out.parent,
            steps=steps,
            start_from="geometry-views",
            rates=GeometryRates(new=5e-4, shapes=2e-4, photos=1e-4),
            places=(GeometryPlace(folder=folder, frames=frames),),
        ),
        resume,
    )


def _run(config: GeometryConfig, resume: bool) -> None:
    from diff2i2p_core.cli.progress import progress_bars
    from diff2i2p_core.engine.geometry_run import GeometryRun
    from diff2i2p_core.engine.signals import Stopped
    from diff2i2p_core.io.files import check_output_folder

    check_output_folder(config.output / config.name)
    try:
        run = GeometryRun(config)
        with progress_bars() as progress:
            places = run.prepare(resume, progress)
        weights = run.train(places)
    except Stopped as stopped:
        typer.echo(f"diff2i2p: {stopped}; resume with --resume", err=True)
        raise typer.Exit(stopped.status) from None
    typer.echo(f"weights: {weights}")
