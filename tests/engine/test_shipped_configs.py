"""The experiments in training/configs build their networks; those of the benchmarks are the released ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from timm_extra import timm_or_skip

from diff2i2p_core.engine.config_file import load_config, read_settings
from diff2i2p_core.engine.experiment import TrainConfig
from diff2i2p_core.engine.prior_config import PriorConfig
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.released import ReleasedDataset, released_config

PRIOR = "prior"
"""No experiment: a diffusion model."""
FOLDER = Path(__file__).parents[2] / "training" / "configs"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != PRIOR)
BENCHMARKS = ("7scenes", "rgbd_scenes_v2")


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFF2I2P_DATA", "/data")


def experiment(name: str) -> TrainConfig:
    return load_config(FOLDER / f"{name}.yaml")


def folders(config: TrainConfig) -> set[str]:
    """Of the data."""
    benchmarks = [b.root for b in (config.benchmark, config.test_on) if b is not None]
    return {
        str(path) for path in (*benchmarks, *(s.folder for s in (*config.scenes, *config.validation.scenes)))
    }


@pytest.mark.parametrize("name", NAMES)
def test_data_is_in_the_named_folder_or_made_here(name: str) -> None:
    assert all(folder.startswith(("/data/", "out/")) for folder in folders(experiment(name)))


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_has_its_name_and_builds_its_network(name: str) -> None:
    config = experiment(name)
    assert config.name == name
    if config.model.build().image.kind == "timm":
        timm_or_skip()
    with torch.device("meta"):
        model = Diff2I2P(config.model.build())
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_the_priors_frames_are_apart() -> None:
    config = read_settings(FOLDER / f"{PRIOR}.yaml", (), PriorConfig)
    (unseen,) = config.unseen
    assert unseen.folder == config.scenes[0].folder and str(unseen.folder).startswith("/data/")
    assert unseen.frames is not None and config.scenes[0].frames is not None
    assert unseen.frames[0] > config.scenes[0].frames[1]


@pytest.mark.parametrize("dataset", BENCHMARKS)
def test_released_experiments_train_the_published_networks(dataset: str) -> None:
    config = experiment(f"{dataset}-released")
    assert config.model.build() == released_config(dataset)  # type: ignore[arg-type]
    assert config.epochs == {"7scenes": 70, "rgbd_scenes_v2": 60}[dataset]
    assert config.optimizer.clip is None
    assert config.losses == experiment("7scenes-released").losses


@pytest.mark.parametrize("dataset", BENCHMARKS)
@pytest.mark.parametrize("kind", ["released", "corrected", "corrected-mono"])
def test_benchmarks_have_their_layout_and_protocol(dataset: ReleasedDataset, kind: str) -> None:
    config = experiment(f"{dataset}-{kind}")
    assert config.benchmark is not None
    assert config.benchmark.layout == config.validation.protocol == dataset
    assert config.benchmark.augmentation == kind.removesuffix("-mono")
    assert config.benchmark.matching == ("released" if kind == "released" else "mutual_nearest")
    assert config.model.build().mode == ("mono" if kind.endswith("mono") else "rgbd")
    assert config.validation.released == (kind == "released")
    csd, pose = config.losses.csd, config.losses.pose
    assert (csd.weight, csd.mode) == (0.001, "released" if kind == "released" else "control")
    chosen = (config.model.init, pose.start, pose.gradient, csd.dtype)
    assert chosen == (
        ("released",) * 3 + ("fp32",) if kind == "released" else ("own", "robust", "exact", "bf16")
    )
    matching = config.model.build().matching
    assert matching == released_config(dataset).matching


def test_cross_dataset_experiment_tests_on_the_other_benchmark() -> None:
    config = experiment("7scenes-to-rgbd_scenes_v2")
    assert config.benchmark is not None and config.test_on is not None
    assert (config.benchmark.layout, config.test_on.layout) == BENCHMARKS
    trained = experiment("7scenes-corrected").model_copy(update={"name": config.name})
    assert config.losses == trained.losses and config.model.build().matching == trained.model.build().matching


@pytest.mark.parametrize("dataset", BENCHMARKS)
def test_the_baseline_is_the_published_network_without_diff2i2ps_additions(dataset: ReleasedDataset) -> None:
    config = experiment(f"{dataset}-2d3dmatr")
    assert config.benchmark is not None
    assert config.benchmark.layout == config.validation.protocol == dataset
    assert config.epochs == 20
    losses = config.losses
    assert losses.coarse.multi_scale == losses.csd.weight == 0
    assert not losses.tuning.used and not losses.pose.used(config.epochs)

    baseline, published = config.model.build(), released_config(dataset)
    assert (baseline.mode, baseline.has_coordinates) == ("rgbd", False)
    assert baseline.matching == published.matching
    with torch.device("meta"):
        models = Diff2I2P(baseline), Diff2I2P(published)
    own, full = ({name: tuple(value.shape) for name, value in m.state_dict().items()} for m in models)
    assert own.keys() == {name for name in full if not name.startswith("tuning.")}
    # One grey channel and a feature of ones instead of four and three; the rest is the same.
    inputs = sorted((own[name], full[name]) for name in own if own[name] != full[name])
    assert inputs == [((15, 1, 64), (15, 3, 64)), ((128, 1, 7, 7), (128, 4, 7, 7))]
    assert sum(p.numel() for p in models[0].parameters()) == 31_054_720
