"""`diff2i2p config`: shows the settings of an experiment, checks a file, computes neighbour limits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Settings of experiments: dump, check, limits.", no_args_is_help=True)

_Experiment = Annotated[Path, typer.Argument(help="YAML of an experiment, see training/configs")]
_Overrides = Annotated[list[str] | None, typer.Argument(help="key=value, such as optimizer.lr=0.001")]


@app.command()
def dump(
    config: Annotated[
        Path | None, typer.Argument(help="YAML of an experiment; without it, the defaults")
    ] = None,
    overrides: _Overrides = None,
) -> None:
    """Print all settings of an experiment as YAML, including defaults."""
    import json

    import yaml

    from diff2i2p_core.engine.config_file import load_config
    from diff2i2p_core.engine.experiment import TrainConfig

    # The defaults alone are not a valid experiment: steps or epochs, and scenes or a benchmark, are missing.
    settings = TrainConfig.model_construct() if config is None else load_config(config, overrides or ())
    typer.echo(yaml.safe_dump(json.loads(settings.model_dump_json()), sort_keys=False), nl=False)


@app.command()
def check(config: _Experiment, overrides: _Overrides = None) -> None:
    """Check for unknown keys and invalid values, and print the network."""
    from diff2i2p_core.engine.config_file import load_config

    checked = load_config(config, overrides or ())
    model = checked.model.build()
    length = f"{checked.steps} steps" if checked.steps else f"{checked.epochs} epochs"
    typer.echo(f"{config}: valid; {model.name}, {model.mode}, {model.point_features}, {length}")


@app.command()
def limits(config: _Experiment, overrides: _Overrides = None) -> None:
    """Compute how many neighbours the point branch needs on the experiment's training clouds."""
    from diff2i2p_core.engine.config_file import load_config
    from diff2i2p_core.engine.training_pairs import training_pairs
    from diff2i2p_core.pairs.neighbor_limits import KEPT, calibrate_neighbor_limits

    experiment = load_config(config, overrides or ())
    model = experiment.model.build()
    calibrated = calibrate_neighbor_limits(training_pairs(experiment, model), model.points.voxel)
    typer.echo(f"now:        {list(model.points.neighbor_limits)}")
    typer.echo(f"calibrated: {list(calibrated)}, enough for {KEPT:.0%} of the points of each level")
    typer.echo(f"to use them: model: {{replace: {{points: {{neighbor_limits: {list(calibrated)}}}}}}}")
