"""`diff2i2p ablate`: measures the effect of each correction of the released code on your data."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from diff2i2p_core.cli import options
from diff2i2p_core.errors import InputError


def ablate(
    config: Annotated[Path, typer.Argument(help="YAML of the corrected experiment.", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, such as validation.pairs=50")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each run.")] = 2000,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each variant, with consecutive seeds.")] = 3,
    only: Annotated[
        str, typer.Option(help="Rules, such as pose,dct,csd,no_csd,all; an unknown one lists all names.")
    ] = "",
    as_json: options.AsJson = False,
) -> None:
    """Train the experiment as it is, with each released rule alone, and with all of them.

    ablation.md and ablation.json are updated in the run's folder after each run. If started again, finished
    runs are kept.
    """
    from rich.console import Console

    from diff2i2p_core.engine.ablation import Result, run_ablation
    from diff2i2p_core.engine.ablation_report import markdown
    from diff2i2p_core.engine.config_file import load_config
    from diff2i2p_core.engine.signals import Stopped
    from diff2i2p_core.io.files import check_output_folder, write_text

    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise InputError("ablate: runs in one process only; start it without torchrun")
    base = load_config(config, overrides or ())
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    console, results = Console(stderr=True), list[Result]()
    path = base.output / base.name / "ablation"
    check_output_folder(path.parent, files=("ablation.md", "ablation.json"))
    content = {"experiment": base.name, "steps": steps, "runs": [], "markdown": ""}
    try:
        for result in run_ablation(base, steps, range(base.seed, base.seed + seeds), wanted):
            results.append(result)
            console.print(f"{result.variant}, seed {result.seed}: done", highlight=False)
            content |= {"runs": [asdict(r) for r in results], "markdown": markdown(base, steps, results)}
            write_text(path.with_suffix(".md"), str(content["markdown"]))
            write_text(path.with_suffix(".json"), json.dumps(content, indent=1) + "\n")
    except Stopped as stopped:
        typer.echo(f"diff2i2p: {stopped}", err=True)
        raise typer.Exit(stopped.status) from None
    typer.echo(json.dumps(content) if as_json else content["markdown"])
