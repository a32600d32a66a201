"""`diff2i2p prior`: train a small diffusion model for CSD, and measure what it and CSD are worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from diff2i2p_core.engine.prior_config import PriorConfig
    from diff2i2p_core.losses.diffusion_prior import DiffusionPrior
    from diff2i2p_core.pairs.scenes import Scene

app = typer.Typer(
    help="A small diffusion model of your own for CSD: train, measure, gradient.", no_args_is_help=True
)

_Config = Annotated[Path, typer.Argument(help="YAML of the prior, see training/configs/prior.yaml")]
_Model = Annotated[
    Path | None, typer.Option(help="Folder of a prior; by default, that of the configuration's run.")
]
_Overrides = Annotated[list[str] | None, typer.Argument(help="key=value, such as steps=1000")]


@app.command()
def train(
    config: _Config,
    overrides: _Overrides = None,
    resume: Annotated[bool, typer.Option("--resume", help="resume from the run's last checkpoint")] = False,
) -> None:
    """Train a depth-conditioned diffusion model on posed RGB-D frames, and measure it on unseen ones.

    Ctrl-C and SIGTERM save a checkpoint first; the exit status is then 130 or 143. The folder that is printed
    is the value of losses.csd.model in an experiment.
    """
    from diff2i2p_core.engine.config_file import read_settings
    from diff2i2p_core.engine.prior_config import PriorConfig
    from diff2i2p_core.engine.prior_trainer import PriorTrainer
    from diff2i2p_core.engine.signals import Stopped
    from diff2i2p_core.io.files import check_output_folder

    settings = read_settings(config, overrides or (), PriorConfig)
    check_output_folder(settings.output / settings.name)
    trainer = PriorTrainer(settings)
    try:
        folder = trainer.run(resume=resume)
    except Stopped as stopped:
        typer.echo(f"diff2i2p: {stopped}; resume with --resume", err=True)
        raise typer.Exit(stopped.status) from None
    _report(settings, folder)
    typer.echo(f"prior: {folder}")


@app.command()
def measure(config: _Config, overrides: _Overrides = None, model: _Model = None) -> None:
    """Print the denoising error on unseen frames with the right depth and with wrong ones."""
    from diff2i2p_core.engine.config_file import read_settings
    from diff2i2p_core.engine.prior_config import PriorConfig

    settings = read_settings(config, overrides or (), PriorConfig)
    _report(settings, model or settings.output / settings.name / "prior")


@app.command()
def gradient(config: _Config, overrides: _Overrides = None, model: _Model = None) -> None:
    """Print whether CSD leads wrong poses of unseen frames to the truth, with its own rule and the released
    one."""
    from diff2i2p_core.engine.config_file import read_settings
    from diff2i2p_core.engine.prior_config import PriorConfig
    from diff2i2p_core.engine.prior_gradient import gradient_table, pose_gradients

    settings = read_settings(config, overrides or (), PriorConfig)
    prior, scenes = _unseen(settings, model or settings.output / settings.name / "prior")
    typer.echo(gradient_table(pose_gradients(prior, scenes, settings.measured_frames)))


def _report(settings: PriorConfig, folder: Path) -> None:
    from diff2i2p_core.engine.prior_report import denoising_errors, table

    prior, scenes = _unseen(settings, folder)
    typer.echo(table(denoising_errors(prior, scenes, settings.measured_frames)))


def _unseen(settings: PriorConfig, folder: Path) -> tuple[DiffusionPrior, list[Scene]]:
    """The prior in a folder, and the scenes to measure it on."""
    from diff2i2p_core.engine.prior_frames import HEIGHT
    from diff2i2p_core.engine.training_pairs import load_scenes
    from diff2i2p_core.losses.diffusion_prior import DiffusionPrior

    prior = DiffusionPrior.load(str(folder), str(folder / "controlnet"), checkpointing=False)
    return prior, load_scenes(settings.unseen, HEIGHT, settings.cache)[0]
