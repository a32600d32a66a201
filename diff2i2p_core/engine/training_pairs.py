"""The training and validation pairs of an experiment."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from diff2i2p_core.engine.experiment import SceneConfig, TrainConfig
from diff2i2p_core.engine.schedule import Schedule
from diff2i2p_core.engine.signals import ignore_stop_signals
from diff2i2p_core.errors import InputError
from diff2i2p_core.models.config import ModelConfig
from diff2i2p_core.pairs.benchmark_pairs import BenchmarkPairs
from diff2i2p_core.pairs.joint_pairs import JointPairs
from diff2i2p_core.pairs.loading import load_batches
from diff2i2p_core.pairs.pair import Batch, Pair, PairSource, collate
from diff2i2p_core.pairs.scene_pairs import ScenePairs
from diff2i2p_core.pairs.scenes import Scene, load_scene

VALIDATION_SEED = 1_000_003
"""Not the experiment's seed, so that runs with other seeds are measured on the same pairs."""


def training_pairs(config: TrainConfig, model: ModelConfig) -> PairSource:
    if config.benchmark is not None:
        first, *others = (
            BenchmarkPairs(settings, model, "train", seed=config.seed)
            for settings in (config.benchmark, *config.joint)
        )
        if others:
            return JointPairs([first, *others], [1, *(s.repeat for s in config.joint)], config.seed)
        return first
    return _scene_pairs(config, config.scenes, model, config.seed, augment=True)


def validation_pairs(config: TrainConfig, model: ModelConfig) -> tuple[PairSource, list[int]] | None:
    """The source of held-out pairs, and their numbers. None if there are none."""
    count = config.validation.pairs
    if config.validation.scenes:
        source: PairSource = _scene_pairs(
            config, config.validation.scenes, model, VALIDATION_SEED, augment=False
        )
        return source, list(range(source.epoch_length if count is None else count))
    if config.benchmark is None:
        return None
    source = BenchmarkPairs(config.benchmark, model, "validation")
    total = source.epoch_length
    count = total if count is None else min(count, total)
    return source, [index * total // count for index in range(count)]


def _scene_pairs(
    config: TrainConfig, scenes: Sequence[SceneConfig], model: ModelConfig, seed: int, augment: bool
) -> ScenePairs:
    loaded, weights = load_scenes(scenes, model.image.height or 480, config.cache)
    return ScenePairs(
        loaded, weights, model, config.pairs, seed=seed, epoch_length=config.epoch_pairs, augment=augment
    )


def load_scenes(
    scenes: Sequence[SceneConfig], height: int, cache: Path | None
) -> tuple[list[Scene], list[float]]:
    """Scenes with images of `height` rows, and the weights to draw from them."""
    loaded: list[Scene] = []
    weights: list[float] = []
    cache = None if cache is None else cache.expanduser()
    for scene in scenes:
        folders = [scene.folder]
        if scene.folder.is_dir() and not any(scene.folder.glob("frame-*.pose.txt")):
            folders = sorted(path for path in scene.folder.iterdir() if path.is_dir())
        if not folders:
            raise InputError(f"{scene.folder}: neither a posed RGB-D folder nor a folder of them")
        for folder in folders:
            loaded.append(load_scene(folder, height, scene.frames, cache))
            weights.append(scene.weight / len(folders))
    if not sum(weights):
        raise InputError("scenes: all weights are 0; give one a weight above 0")
    return loaded, weights


def batches(
    source: PairSource, schedule: Schedule, first_step: int, process: int, workers: int
) -> Generator[Batch, None, None]:
    """The batches of a process from `first_step` to the last step, `accumulate` per step."""
    first, end = first_step * schedule.accumulate, schedule.steps * schedule.accumulate
    numbers = [schedule.batch(number, process) for number in range(first, end)]
    return load_batches(source, numbers, workers, collate, ignore_stop_signals)


def split(pairs: tuple[PairSource, list[int]], process: int, processes: int) -> Iterator[Pair]:
    """The part of numbered pairs that belongs to a process."""
    source, numbers = pairs
    return (source[number] for number in numbers[process::processes])
