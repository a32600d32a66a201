"""Experiments' settings: overrides, typos, impossible values, and the files in training/configs."""

from __future__ import annotations

from pathlib import Path

import pytest

from diff2i2p_core.engine.config import load_config
from diff2i2p_core.errors import InputError

CONFIGS = sorted((Path(__file__).parents[2] / "training" / "configs").glob("*.yaml"))
SCENES = "scenes: [{folder: somewhere}]\n"


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text("name: mine\n" + SCENES)
    return path


def test_overrides(experiment: Path) -> None:
    config = load_config(experiment, ["optimizer.lr=0.002", "steps=7", "model.replace.fine_dim=32"])
    assert config.optimizer.lr == 0.002
    assert config.steps == 7
    assert config.model.build().fine_dim == 32
    assert config.model.build().image.height == 240  # the rest of the preset stays


def test_a_typo_names_the_nearest_key(experiment: Path) -> None:
    with pytest.raises(InputError, match=r"unknown key 'optimizer.lrr'; did you mean 'lr'"):
        load_config(experiment, ["optimizer.lrr=1"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("steps=-1", "'steps'"),
        ("optimizer.lr=fast", "'optimizer.lr'"),
        ("nonsense", "key=value"),
        ("model.preset=huge", "'model.preset'"),
    ],
)
def test_impossible_values(experiment: Path, override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(experiment, [override])


def test_broken_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_config(tmp_path / "missing.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1,\n")
    with pytest.raises(InputError, match="not YAML"):
        load_config(broken)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_shipped_experiments_are_valid(path: Path) -> None:
    load_config(path).model.build()
