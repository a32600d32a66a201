"""`diff2i2p config`: experiments' settings with their defaults, and a check of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Settings of experiments: dump, check.", no_args_is_help=True)

_Config = Annotated[Path, typer.Argument(help="YAML of the experiment, see training/configs")]
_Overrides = Annotated[list[str] | None, typer.Argument(help="key=value, as optimizer.lr=0.001")]


@app.command()
def dump(config: _Config, overrides: _Overrides = None) -> None:
    """Every setting of an experiment as YAML, defaults included."""
    import json

    import yaml

    from diff2i2p_core.engine.config import load_config

    values = json.loads(load_config(config, overrides or ()).model_dump_json())
    typer.echo(yaml.safe_dump(values, sort_keys=False), nl=False)


@app.command()
def check(config: _Config, overrides: _Overrides = None) -> None:
    """Refuse unknown keys and impossible values; prints the network it describes."""
    from diff2i2p_core.engine.config import load_config

    checked = load_config(config, overrides or ())
    model = checked.model.build()
    typer.echo(f"{config}: fine; {model.name}, {model.mode}, {model.point_features}, {checked.steps} steps")
