"""`diff2i2p test`: runs a network on a benchmark, and stores its matches for `diff2i2p eval`."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diff2i2p_core.cli import options
from diff2i2p_core.cli.progress import progress_bars
from diff2i2p_core.errors import InputError
from diff2i2p_core.io.files import check_output_folder

if TYPE_CHECKING:
    from diff2i2p_core.engine.experiment import TrainConfig


def test(
    config: Annotated[Path, typer.Argument(help="YAML of an experiment on a benchmark.", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, such as benchmark.root=/data/7Scenes")
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Weights: a file, or a shipped or fetched name; by default the run's best.safetensors."
        ),
    ] = None,
    test_epoch: Annotated[int | None, typer.Option(help="The run's epoch-N.safetensors.")] = None,
    subset: Annotated[
        str | None, typer.Option(help="train, val, test, ...; by default benchmark.test.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Cache folder; by default RUN/cache/SUBSET/NAME_OF_WEIGHTS.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, ...; by default the configuration's.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that prepare pairs; by default the configuration's.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Write one file per pair: matches, scores, coarse pairs, truth. An interrupted test resumes."""
    from diff2i2p_core.engine.config_file import load_config
    from diff2i2p_core.evaluation.cache import CacheInfo
    from diff2i2p_core.evaluation.testing import register_subset
    from diff2i2p_core.pairs.benchmark_pairs import BenchmarkPairs
    from diff2i2p_core.weights.checkpoint import load_model, weights_id

    settings = load_config(config, overrides or ())
    benchmark = settings.test_on or settings.benchmark
    if benchmark is None:
        raise InputError(f"{config}: has no benchmark to test on; add benchmark: {{root: ...}}")
    if subset is not None:
        benchmark = benchmark.model_copy(update={"test": subset})
    weights = _weights(settings, checkpoint, test_epoch)
    folder = out or settings.output / settings.name / "cache" / benchmark.test_name / weights.stem
    check_output_folder(folder, [benchmark.root, *(benchmark.root / part for part in ("data", "metadata"))])
    model = load_model(weights, _device(settings, device), benchmark.layout)
    pairs = BenchmarkPairs(benchmark, model.config, "test")
    info = CacheInfo(
        weights=str(weights),
        weights_id=weights_id(weights),
        model=model.config.name,
        benchmark=benchmark.layout,
        subset=benchmark.test_name,
        pairs=pairs.epoch_length,
    )
    with progress_bars(counts=True) as progress:
        tell = partial(progress, f"testing {weights.name}")
        tell(0, pairs.epoch_length)
        made = register_subset(
            model,
            pairs,
            folder,
            info,
            settings.workers if workers is None else workers,
            tell,
        )
    if as_json:
        typer.echo(json.dumps({"cache": str(folder), "registered": made, **info.model_dump()}))
    else:
        typer.echo(f"{folder}: {pairs.epoch_length} pairs, {made} of them new")


def _weights(settings: TrainConfig, checkpoint: str | None, epoch: int | None) -> Path:
    from diff2i2p_core.weights.checkpoint import resolve_weights

    if checkpoint is not None and epoch is not None:
        raise InputError("--checkpoint and --test-epoch: both select the weights; give one")
    if checkpoint is not None:
        return resolve_weights(checkpoint)
    name = "best" if epoch is None else f"epoch-{epoch}"
    path = settings.output / settings.name / f"{name}.safetensors"
    if not path.is_file():
        raise InputError(f"{path}: the run has no such weights; give weights with --checkpoint")
    return path


def _device(settings: TrainConfig, device: str | None) -> str:
    import torch

    if device is not None:
        return options.check_device(device)
    if settings.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return settings.device
