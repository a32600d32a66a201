"""Experiments' settings: overrides, typos, impossible values."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from diff2i2p_core.cli.main import app
from diff2i2p_core.engine.config_file import load_config
from diff2i2p_core.errors import InputError


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text("name: mine\nsteps: 5\nscenes: [{folder: somewhere}]\n")
    return path


def test_overrides(experiment: Path) -> None:
    config = load_config(
        experiment, ["optimizer.lr=0.002", "optimizer.clip=null", "model.replace.fine_dim=32"]
    )
    assert (config.optimizer.lr, config.optimizer.clip) == (0.002, None)
    assert config.model.build().fine_dim == 32
    assert config.model.build().image.height == 240  # the rest of the preset stays


def test_an_override_replaces_its_alternative(experiment: Path) -> None:
    config = load_config(experiment, ["epochs=3", "benchmark.root=there"])
    assert (config.steps, config.epochs) == (None, 3)
    assert config.scenes == ()
    assert config.benchmark is not None
    assert config.benchmark.root == Path("there")


def test_folders_named_by_the_environment(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment.write_text('steps: 5\nscenes: [{folder: "${MY_DATA}/kitchen"}, {folder: here}]\n')
    monkeypatch.setenv("MY_DATA", "/mnt/data")
    assert [str(scene.folder) for scene in load_config(experiment).scenes] == ["/mnt/data/kitchen", "here"]
    monkeypatch.delenv("MY_DATA")
    words = r"'scenes\.0\.folder' is \$\{MY_DATA\}/kitchen, but .* MY_DATA is not set; set it to the folder"
    with pytest.raises(InputError, match=words):
        load_config(experiment)
    assert load_config(experiment, ["scenes=[{folder: there}]"]).scenes[0].folder == Path("there")


def test_an_experiment_starts_from_its_base(experiment: Path) -> None:
    child = experiment.with_name("child.yaml")
    child.write_text("base: experiment.yaml\nname: child\nepochs: 2\noptimizer: {kind: adam}\n")
    config = load_config(child, ["optimizer.lr=0.5"])
    assert (config.name, config.steps, config.epochs) == ("child", None, 2)
    assert (config.optimizer.kind, config.optimizer.lr) == ("adam", 0.5)
    experiment.write_text("base: child.yaml\n")
    with pytest.raises(InputError, match="cycle"):
        load_config(child)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lrr=1", r"unknown key 'optimizer.lrr'; did you mean 'lr'"),
        ("lr=1", r"unknown key 'lr'; did you mean 'optimizer.lr'"),
        ("losses.fine.sample=1", r"unknown key 'losses.fine.sample'; did you mean 'samples'"),
        ("model.replace.point.voxel=1", r"unknown key 'model.replace.point'; did you mean 'points'"),
        ("model.replace.points.voxl=1", r"unknown key 'model.replace.points.voxl'; did you mean 'voxel'"),
        ("benchmark={root: x, layuot: 7scenes}", r"unknown key 'benchmark.layuot'; did you mean 'layout'"),
        ("scenes=[out/rooms]", r"'scenes.0': 'out/rooms' is not a section; give its settings as {key: value"),
        ("scenes=[{foldr: x, folder: y}]", r"unknown key 'scenes.0.foldr'; did you mean 'folder'"),
        ("zzzzzz=1", r"config dump"),
    ],
)
def test_a_typo_names_the_nearest_key(experiment: Path, override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(experiment, [override])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["steps=-1"], "'steps': input should be greater than 0"),
        (["optimizer.lr=fast"], "'optimizer.lr'"),
        (["nonsense"], "key=value"),
        (["scenes=[{"], "not YAML"),
        (["model.preset=huge"], "'model.preset'"),
        (["model.replace.points.voxel=x"], "'model.replace.points.voxel'"),
        (["steps=3", "epochs=3"], "give either steps or epochs; this has both"),
        (["steps=null"], "give either steps or epochs; this has neither"),
        (["benchmark={layout: 7scenes}"], "'benchmark.root' is missing"),
        (["losses.fine.kind=triplet"], r"losses\.fine\.kind 'triplet' is unknown; use one of circle, contr"),
        (["model.replace.image.kind=resnet"], r"image\.kind 'resnet' is unknown; use one of resnet_fpn"),
        (["keep_last=2"], "keep_last has no epochs to keep; set save_epochs"),
        (["optimizer.lr=1e999"], "'optimizer.lr': input should be a finite number"),
        (
            ["model.replace.points.voxel=0"],
            r"'model\.replace\.points\.voxel': input should be greater than 0",
        ),
        (
            ["model.replace.points.neighbor_limits=[8]"],
            r"'model\.replace\.points': 1 neighbor_limits, but \d",
        ),
        (["model.replace.image.blocks=[]"], r"'model\.replace\.image': \d channels, but 0 blocks; fix"),
        (["model.replace.fusion.heads=5"], r"'model\.replace\.fusion': dim \d+ is no multiple of heads 5"),
        (["model.replace.image.dilation=0"], r"'model\.replace\.image\.dilation'"),
        (["optimizer.momentum=1"], r"'optimizer\.momentum'"),
        (["benchmark={root: x, matching: nearest}"], r"'benchmark\.matching'"),
        (["benchmark={root: x, scenes: []}"], r"'benchmark\.scenes': names no scene; name one or more"),
        (["test_on={root: x, test_scenes: []}"], r"'test_on\.test_scenes': names no scene"),
        (["start_from=lite-rgb", "image_weights=hub"], "give either start_from or image_weights"),
    ],
)
def test_impossible_values(experiment: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_config(experiment, overrides)
    assert "\n" not in str(caught.value)


def test_broken_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_config(tmp_path / "missing.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1,\n")
    with pytest.raises(InputError, match="not YAML"):
        load_config(broken)
    broken.write_text("- a\n")
    with pytest.raises(InputError, match="holds no settings"):
        load_config(broken)


def test_dumped_settings_make_the_same_experiment(experiment: Path) -> None:
    dumped = CliRunner().invoke(app, ["config", "dump", str(experiment), "optimizer.kind=adam"])
    copy = experiment.with_name("copy.yaml")
    copy.write_text(dumped.output)
    assert load_config(copy) == load_config(experiment, ["optimizer.kind=adam"])
    defaults = yaml.safe_load(CliRunner().invoke(app, ["config", "dump"]).output)
    assert (defaults["steps"], defaults["seed"]) == (None, 7351)
