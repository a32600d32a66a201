"""`diff2i2p train`: run an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[Path, typer.Argument(help="YAML of the experiment, see training/configs")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, such as optimizer.lr=0.001")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="resume from the run's last checkpoint")] = False,
    local_rank: Annotated[int | None, typer.Option("--local-rank", "--local_rank", hidden=True)] = None,
) -> None:
    """Train a network. The run's folder gets checkpoint, weights, log and TensorBoard files.

    Ctrl-C and SIGTERM save a checkpoint first; the exit status is then 130 or 143. For several GPUs or
    machines, run training/train.py with torchrun or accelerate launch.
    """
    del local_rank  # torch.distributed.launch gives it; the environment has it, too
    from diff2i2p_core.engine.config_file import load_config
    from diff2i2p_core.engine.signals import Stopped
    from diff2i2p_core.engine.trainer import Trainer
    from diff2i2p_core.io.files import check_output_folder

    settings = load_config(config, overrides or ())
    check_output_folder(settings.output / settings.name)
    trainer = Trainer(settings)
    try:
        weights = trainer.run(resume=resume)
    except Stopped as stopped:
        if trainer.accelerator.is_main_process:
            typer.echo(f"diff2i2p: {stopped}; resume with --resume", err=True)
        raise typer.Exit(stopped.status) from None
    if trainer.accelerator.is_main_process:
        typer.echo(f"weights: {weights}")
