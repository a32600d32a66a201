"""`diff2i2p test`: runs a network on a benchmark, and stores its matches for `diff2i2p eval`."""

from __future__ import annotations

import json
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from diff2i2p_core.cli import options
from diff2i2p_core.cli.progress import progress_bars
from diff2i2p_core.errors import InputError
from diff2i2p_core.io.files import check_output_folder

if TYPE_CHECKING:
    from diff2i2p_core.engine.experiment import TrainConfig
    from diff2i2p_core.evaluation.cache import CacheInfo
    from diff2i2p_core.evaluation.resources import Used
    from diff2i2p_core.models.config import ModelConfig
    from diff2i2p_core.models.released import ReleasedDataset
    from diff2i2p_core.pairs.benchmark_pairs import BenchmarkSettings


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
    file_format: Annotated[
        str, typer.Option("--format", help="diff2i2p, or released: the files of the released test.py.")
    ] = "diff2i2p",
    as_json: options.AsJson = False,
) -> None:
    """Write one file per pair: matches, scores, coarse pairs, truth. An interrupted test resumes.

    For several GPUs or machines, run training/test.py with torchrun or accelerate launch.
    """
    from diff2i2p_core.engine.config_file import load_config
    from diff2i2p_core.evaluation.cache import CacheInfo
    from diff2i2p_core.evaluation.processes import started_processes
    from diff2i2p_core.evaluation.testing import register_subset
    from diff2i2p_core.pairs.benchmark_pairs import BenchmarkPairs
    from diff2i2p_core.pairs.benchmarks import is_prepared
    from diff2i2p_core.weights.checkpoint import load_model, weights_id

    if file_format not in ("diff2i2p", "released"):
        raise InputError(f"--format '{file_format}': unknown; use diff2i2p or released")
    settings = load_config(config, overrides or ())
    benchmark = settings.test_on or settings.benchmark
    if benchmark is None:
        raise InputError(f"{config}: has no benchmark to test on; add benchmark: {{root: ...}}")
    if subset is not None:
        benchmark = benchmark.model_copy(update={"test": subset})
    weights = _weights(settings, checkpoint, test_epoch)
    folder = out or settings.output / settings.name / "cache" / benchmark.test_name / weights.stem
    check_output_folder(folder, [benchmark.root, *(benchmark.root / part for part in ("data", "metadata"))])
    processes, own_device = started_processes(_device(settings, device))
    first = processes.index == 0
    network = _network(weights, settings, benchmark, folder, first)
    model = load_model(weights, own_device, _released(benchmark), network)
    pairs = BenchmarkPairs(benchmark, model.config, "test")
    info = CacheInfo(
        weights=str(weights),
        weights_id=weights_id(weights),
        model=model.config.name,
        benchmark=benchmark.layout,
        subset=benchmark.test_name,
        pairs=pairs.epoch_length,
        query_depth=model.config.has_coordinates,
        prepared=is_prepared(benchmark.root),
        format=file_format,  # type: ignore[arg-type]
        config=None if network is None else network.model_dump(mode="json"),
    )
    with progress_bars(counts=True) if first else nullcontext() as progress:
        tell = None if progress is None else partial(progress, f"testing {weights.name}")
        if tell is not None:
            tell(0, pairs.epoch_length)
        loaders = settings.workers if workers is None else workers
        used = register_subset(model, pairs, folder, info, loaders, tell, processes)
    processes.end()
    if first:
        _report(folder, info, used, as_json)


def _released(benchmark: BenchmarkSettings) -> ReleasedDataset | None:
    """The benchmark, if there are published checkpoints for it."""
    return None if benchmark.layout == "kitti" else benchmark.layout


def _network(
    weights: Path, settings: TrainConfig, benchmark: BenchmarkSettings, folder: Path, first: bool
) -> ModelConfig | None:
    """The configuration for weights that do not record theirs, with `model.replace` and with the neighbour
    limits of the benchmark's clouds. None for other weights."""
    from pydantic import ValidationError

    from diff2i2p_core.engine.experiment import merge
    from diff2i2p_core.evaluation.cache import read_info
    from diff2i2p_core.models.config import ModelConfig
    from diff2i2p_core.pairs.neighbor_limits import measured_limits
    from diff2i2p_core.weights.checkpoint import config_of

    own, replaced = config_of(weights, _released(benchmark)), settings.model.replace
    if weights.suffix == ".safetensors":
        recorded = own.model_dump(mode="json")
        if first and merge(recorded, {**replaced, "name": own.name}) != recorded:
            options.note(f"{weights}: has its own configuration, so model.replace is not used")
        return None
    try:
        config = ModelConfig.model_validate(merge(own.model_dump(), replaced))
    except ValidationError as error:
        what = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"{weights}: model.replace does not fit this network ({what}); change it") from None
    if "neighbor_limits" in replaced.get("points", {}):
        return config
    known = read_info(folder)
    if known is not None and known.config is not None:
        limits, where = ModelConfig.model_validate(known.config).points.neighbor_limits, "the test so far"
    else:
        limits, where = measured_limits(benchmark, config, settings.seed)
    if first:
        options.note(f"neighbour limits {list(limits)}, from {where}")
    points = config.points.model_copy(update={"neighbor_limits": limits})
    return config.model_copy(update={"points": points})


def _report(folder: Path, info: CacheInfo, used: list[Used], as_json: bool) -> None:
    times = [1000 * pair.seconds for pair in used]
    content = {
        "network_ms": None if not used else {"median": np.median(times), "95%": np.quantile(times, 0.95)},
        "peak_mib": max((pair.peak_mib for pair in used), default=None),
    }
    if as_json:
        values = {"cache": str(folder), "registered": len(used), **content, **info.model_dump()}
        typer.echo(json.dumps(values))
        return
    typer.echo(f"{folder}: {info.pairs} pairs, {len(used)} of them new")
    if used:
        typer.echo(
            f"network: {np.median(times):.0f} ms a pair (median; 95 %: {np.quantile(times, 0.95):.0f} ms), "
            f"at most {content['peak_mib']:.0f} MiB"
        )


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
