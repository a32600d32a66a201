"""Checkpoints of 2D3D-MATR and of Diff2I2P without coordinates load; other networks are named in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from network_stages import run_stages
from torch import Tensor

from diff2i2p_core.errors import InputError
from diff2i2p_core.pairs.pair import Pair
from diff2i2p_core.weights.checkpoint import config_of, load_model

State = dict[str, Tensor]


@pytest.fixture
def state(golden_dir: Path) -> State:
    """A released state dict, with the names of the released code."""
    return dict(torch.load(golden_dir / "state_dict_fp16.pth", weights_only=True))


def without_coordinates(state: State) -> State:
    """The tensors that the released code has with `refer_coordinate: False`."""
    inputs = {
        "img_backbone.encoder1.conv.weight": 1,
        "pcd_backbone.encoder1_1.conv.weights": 1,
        "coord_offset_net.0.weight": 256,
    }
    return {
        name: tensor[:, : inputs.get(name)] if name in inputs else tensor for name, tensor in state.items()
    }


def baseline(state: State) -> State:
    return {k: v for k, v in without_coordinates(state).items() if not k.startswith("coord_offset_net")}


def saved(state: State, path: Path) -> Path:
    torch.save({"model": state}, path)
    return path


def plain(pair: Pair) -> Pair:
    """The pair with ones instead of coordinates on its points, as such networks get it."""
    return replace(pair, features=torch.ones(len(pair.features), 1))


def test_2d3d_matr_loads_and_takes_depth_only_to_choose_nodes(
    state: State, golden_pair: Callable[[str], Pair], tmp_path: Path
) -> None:
    path = saved(baseline(state), tmp_path / "2d3dmatr.pth")
    model = load_model(path)
    config = model.config
    assert (config.name, config.mode, config.coordinates) == ("2d3dmatr-7scenes", "rgbd", False)
    assert model.tuning is None and not config.has_coordinates
    assert config.points.normalization == "positive_sum"
    rgbd = config_of(path, "rgbd_scenes_v2")
    assert (rgbd.name, rgbd.matching.coarse_top_k, rgbd.matching.fine_top_k) == (
        "2d3dmatr-rgbd_scenes_v2",
        5,
        2,
    )
    pair = plain(golden_pair("eval_A"))
    stages = run_stages(model, pair)
    assert pair.image_points is not None
    deeper = run_stages(model, replace(pair, image_points=1.5 * pair.image_points))
    assert torch.equal(stages.image.fine, deeper.image.fine)
    assert torch.equal(stages.image.nodes, deeper.image.nodes)
    blind = run_stages(model, replace(pair, image_points=torch.zeros_like(pair.image_points)))
    assert stages.image.node_valid.any() and not blind.image.node_valid.any()
    # Without depth at all, the same weights run in mode mono.
    mono = load_model(path, config=config.model_copy(update={"mode": "mono"}))
    assert torch.equal(run_stages(mono, replace(pair, image_points=None)).image.fine, stages.image.fine)


def test_diff2i2p_without_coordinates_tunes_with_features_alone(
    state: State, golden_pair: Callable[[str], Pair], tmp_path: Path
) -> None:
    path = saved(without_coordinates(state), tmp_path / "grey.pth")
    model = load_model(path, dataset="rgbd_scenes_v2")
    assert model.config.name == "released-rgbd_scenes_v2-without-coordinates"
    assert model.tuning is not None and model.config.tuning_points == 0
    stages = run_stages(model, plain(golden_pair("eval_A")))
    matches, image, submap = stages.matches, stages.image, stages.submap
    assert len(matches.scores) and matches.offsets is not None and image.extent is not None
    pixels, points = matches.pixel_indices, matches.point_indices
    hidden = (
        torch.cat([image.fine[pixels], submap.fine[points]], 1)
        @ state["coord_offset_net.0.weight"][:, :256].float().T
        + state["coord_offset_net.0.bias"].float()
    )
    offsets = hidden.relu() @ state["coord_offset_net.2.weight"].float().T
    offsets = offsets + state["coord_offset_net.2.bias"].float()
    torch.testing.assert_close(matches.points, submap.points[points] + offsets * image.extent)


def test_other_networks_are_named_with_what_is_missing(state: State, tmp_path: Path) -> None:
    other = baseline(state) | {
        "uncertainty_net.0.weight": torch.zeros(3, 3),
        "uncertainty_net.0.bias": torch.zeros(3),
        "img_backbone.attention.query.weight": torch.zeros(2, 2),
    }
    other = {name: tensor for name, tensor in other.items() if not name.startswith("img_pyramid")}
    with pytest.raises(InputError) as raised:
        load_model(saved(other, tmp_path / "b23d.pth"))
    words = str(raised.value)
    assert "b23d.pth: weights of another network, with img_backbone.attention (1 tensor), " in words
    assert "uncertainty_net.0 (2 tensors)" in words and "\n" not in words
    assert "lacks node_pyramid.downsamples" in words and "Diff2I2P or 2D3D-MATR" in words
    with pytest.raises(InputError, match=r"another network, with layer0 \(1 tensor\).* more parts"):
        load_model(saved({f"layer{n}": torch.zeros(1) for n in range(9)}, tmp_path / "x.pth"))
