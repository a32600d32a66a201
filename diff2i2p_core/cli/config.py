"""`diff2i2p config`: experiments' settings with their defaults, a check of a file, limits of neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Settings of experiments: dump, check, limits.", no_args_is_help=True)

_Experiment = Annotated[Path, typer.Argument(help="YAML of an experiment, see training/configs")]
_Overrides = Annotated[list[str] | None, typer.Argument(help="key=value, as optimizer.lr=0.001")]


@app.command()
def dump(
    config: Annotated[
        Path | None, typer.Argument(help="YAML of an experiment; without it, the defaults")
    ] = None,
    overrides: _Overrides = None,
) -> None:
    """Every setting of an experiment as YAML, defaults included."""
    import json

    import yaml

    from diff2i2p_core.engine.config_file import load_config
    from diff2i2p_core.engine.experiment import TrainConfig

    # The defaults alone are no experiment: steps or epochs, scenes or a benchmark are missing.
    chosen = TrainConfig.model_construct() if config is None else load_config(config, overrides or ())
    typer.echo(yaml.safe_dump(json.loads(chosen.model_dump_json()), sort_keys=False), nl=False)


@app.command()
def check(config: _Experiment, overrides: _Overrides = None) -> None:
    """Refuse unknown keys and impossible values; prints the network it describes."""
    from diff2i2p_core.engine.config_file import load_config

    checked = load_config(config, overrides or ())
    model = checked.model.build()
    length = f"{checked.steps} steps" if checked.steps else f"{checked.epochs} epochs"
    typer.echo(f"{config}: fine; {model.name}, {model.mode}, {model.point_features}, {length}")


@app.command()
def limits(config: _Experiment, overrides: _Overrides = None) -> None:
    """How many neighbours the network's point branch needs on the experiment's training clouds."""
    from diff2i2p_core.engine.config_file import load_config
    from diff2i2p_core.engine.training_pairs import training_pairs
    from diff2i2p_core.pairs.neighbor_limits import KEPT, calibrate_neighbor_limits

    experiment = load_config(config, overrides or ())
    model = experiment.model.build()
    found = calibrate_neighbor_limits(training_pairs(experiment, model), model.points.voxel)
    typer.echo(f"now:        {list(model.points.neighbor_limits)}")
    typer.echo(f"calibrated: {list(found)}, which {KEPT:.0%} of the points of each level do not exceed")
    typer.echo(f"to take them: model: {{replace: {{points: {{neighbor_limits: {list(found)}}}}}}}")
