"""An experiment with a backbone of timm: from a file of its weights to poses in a room."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from four_views import UNCHANGED, write_four_views
from timm_extra import timm_or_skip

from diff2i2p_core.engine.experiment import TrainConfig
from diff2i2p_core.engine.trainer import Trainer
from diff2i2p_core.geometry.se3 import rotation_error_deg, translation_error
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.localization.localizer import Localizer

IMAGE = {"kind": "timm", "backbone": "test_resnet", "height": 120, "node_stride": 8}
SMALL = {
    "fine_dim": 32,
    "image": IMAGE,
    "points": {"voxel": 0.05, "width": 16, "blocks": 1, "neighbor_limits": [16, 16, 16]},
    "fusion": {"dim": 64, "heads": 2, "layers": 2, "octaves": 6},
}


def test_a_backbone_has_a_learning_rate_of_its_own(tmp_path: Path) -> None:
    timm_or_skip()
    write_four_views(tmp_path / "room")
    image = {**IMAGE, "backbone": "test_vit", "trained_blocks": 1}
    config = TrainConfig.model_validate(
        {
            "steps": 2,
            "workers": 0,
            "cache": None,
            "output": tmp_path,
            "model": {"preset": "lite", "replace": {**SMALL, "image": image}},
            "pairs": UNCHANGED,
            # Of the sign of the gradient alone, so that the first step shows the rates.
            "optimizer": {"kind": "adam", "lr": 1e-3, "backbone_lr": 0.1, "warmup": 0, "weight_decay": 0},
            "scenes": [{"folder": tmp_path / "room"}],
        }
    )
    trainer = Trainer(config)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}

    class First(Exception):
        pass

    def stop(*_: object) -> None:
        raise First

    trainer._save = stop  # type: ignore[method-assign]
    trainer.config = config.model_copy(update={"save_every": 1})
    with pytest.raises(First):
        trainer.run()
    after = trainer.model.state_dict()
    steps = {name: float((after[name] - before[name]).abs().max()) for name in before}
    backbone = [step for name, step in steps.items() if name.startswith("image_backbone.body.") and step]
    others = [step for name, step in steps.items() if not name.startswith("image_backbone.body.") and step]
    assert max(backbone) == pytest.approx(1e-4, rel=0.01)
    assert max(others) == pytest.approx(1e-3, rel=0.01)


@pytest.mark.slow
def test_learned_by_heart_it_localizes(tmp_path: Path) -> None:
    timm = timm_or_skip()
    write_four_views(tmp_path / "room")
    torch.manual_seed(5)
    weights = tmp_path / "backbone.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), weights)
    config = TrainConfig.model_validate(
        {
            "steps": 240,
            "workers": 1,
            "cache": None,
            "output": tmp_path,
            "name": "run",
            "image_weights": str(weights),
            "model": {"preset": "lite", "replace": SMALL},
            "losses": {"coarse": {"kind": "contrastive"}, "fine": {"kind": "contrastive", "samples": 320}},
            "pairs": UNCHANGED,
            "optimizer": {"lr": 4e-3, "warmup": 10},
            "scenes": [{"folder": tmp_path / "room"}],
        }
    )
    trainer = Trainer(config)
    given = torch.load(weights, weights_only=True)
    for name, tensor in trainer.model.image_backbone.get_submodule("body").state_dict().items():
        assert torch.equal(tensor, given[name])
    trained = trainer.run()

    frames = PosedFrames(tmp_path / "room")
    localizer = Localizer.from_frames(tmp_path / "room", weights=trained, matcher="network")
    errors = []
    for frame in (frames[index] for index in range(len(frames))):
        found = localizer.localize(frame.image, frames.camera).map_from_camera
        if found is not None:
            truth = frame.world_from_camera
            errors.append((translation_error(found, truth), rotation_error_deg(found, truth)))
    assert len(errors) >= 3  # of 4; the released branch finds no more in as few steps
    assert all(metres < 0.2 and degrees < 5 for metres, degrees in errors)
