"""Vision transformers of timm as backbones: which blocks are trained, and how fine their features are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from backbones import batch_for, changed
from timm_extra import timm_or_skip

from diff2i2p_core.engine.objective import Objective
from diff2i2p_core.errors import InputError
from diff2i2p_core.losses.settings import LossSettings
from diff2i2p_core.models.config import ModelConfig
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.pairs.pair import Batch
from diff2i2p_core.weights.checkpoint import load_model


@pytest.fixture
def timm() -> Any:
    return timm_or_skip()


def vit(tiny_weights: Path, **image: Any) -> ModelConfig:
    return changed(load_model(tiny_weights).config, {"kind": "timm", "backbone": "test_vit", **image})


def test_only_the_last_blocks_are_trained(timm: Any, tiny_weights: Path, room_batch: Batch) -> None:
    config = vit(tiny_weights, trained_blocks=2)
    network = Diff2I2P(config)
    before = {name: tensor.clone() for name, tensor in network.image_backbone.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    Objective(network, LossSettings(), seed=0).train()(batch_for(config, room_batch), 1)["loss"].backward()
    optimizer.step()
    after = network.image_backbone.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    blocks = {name.split(".")[3] for name in moved if name.startswith("body.model.blocks.")}
    assert blocks == {"4", "5"}  # of six
    assert not any(name.startswith("body.") and ".blocks." not in name for name in moved)
    assert any(name.startswith("details.") for name in moved)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"trained_blocks": 7}, "test_vit has 6 blocks"),
        ({"trained_blocks": 2, "frozen": True}, "because it is frozen"),
        ({"trained_blocks": 2, "backbone": "test_resnet"}, "test_resnet is not a transformer"),
    ],
)
def test_blocks_that_cannot_be_chosen(
    timm: Any, tiny_weights: Path, image: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=rf"image\.trained_blocks \d: .*{message}"):
        Diff2I2P(vit(tiny_weights, **image))


def test_fine_features_of_a_transformer_are_finer_than_its_patches(
    timm: Any, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where all patches are alike: then they differ by the image's details alone."""
    branch = Diff2I2P(vit(tiny_weights)).eval().image_backbone
    image = torch.randn(1, branch.inputs, 64, 96)
    with torch.inference_mode():
        body = branch.get_submodule("body")
        alike = [torch.ones_like(found) for found in body(image)]
        monkeypatch.setattr(body, "forward", lambda _: alike)
        patch = (..., slice(4, 8), slice(8, 12))  # of 16 pixels, far from the border
        assert branch(image)[0][patch].std(dim=(2, 3)).mean() > 0.01
        monkeypatch.setattr(branch, "details", None)
        assert branch(image)[0][patch].std(dim=(2, 3)).max() < 1e-5
