"""Training on a small room: the loss falls, and a resumed run is the uninterrupted one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from diff2i2p_core.engine.experiment import TrainConfig
from diff2i2p_core.engine.objective import Objective
from diff2i2p_core.engine.trainer import Trainer
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames
from diff2i2p_core.weights.checkpoint import load_model

TINY = {
    "fine_dim": 16,
    "image": {
        "height": 120,
        "channels": [8, 16, 16],
        "blocks": [1, 1, 1],
        "node_stride": 8,
    },
    "points": {"voxel": 0.1, "width": 8, "blocks": 1, "neighbor_limits": [12, 12, 12]},
    "fusion": {"dim": 32, "heads": 2, "layers": 2, "octaves": 4},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("room")
    room = make_room(3)
    write_frames(out, room, Camera(160, 120, 131, 131, 79.5, 59.5), camera_path(room, 4, 3), noise=False)
    return out


def experiment(folder: Path, output: Path, **changes: object) -> TrainConfig:
    values = {
        "name": "test",
        "steps": 6,
        "workers": 0,
        "save_every": 3,
        "log_every": 1,
        "batch_size": 2,
        "cache": None,
        "output": output,
        "model": {"preset": "lite", "replace": TINY},
        "losses": {"coarse": {"kind": "contrastive"}, "fine": {"kind": "contrastive"}},
        "optimizer": {"lr": 3e-3, "warmup": 1},
        "scenes": [{"folder": folder}],
    }
    return TrainConfig.model_validate({**values, **changes})


def test_resumed_run_equals_the_uninterrupted_one(folder: Path, tmp_path: Path) -> None:
    whole = load_model(Trainer(experiment(folder, tmp_path / "a")).run())

    class Interrupted(Exception):
        pass

    class Breaking(Trainer):
        def train_step(self, *arguments):  # type: ignore[no-untyped-def]
            if self.step == 4:
                raise Interrupted
            return super().train_step(*arguments)

    with pytest.raises(Interrupted):
        Breaking(experiment(folder, tmp_path / "b")).run()
    resumed = load_model(Trainer(experiment(folder, tmp_path / "b")).run(resume=True))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_initial_weights_are_the_chosen_ones(folder: Path, tmp_path: Path) -> None:
    network = {"preset": "lite", "replace": {**TINY, "tuning": True}}
    own, released = (
        Trainer(experiment(folder, tmp_path, model={**network, "init": init})).model.state_dict()
        for init in ("own", "released")
    )
    different = {name for name in own if not torch.equal(own[name], released[name])}
    assert {name for name in different if "kernel_points" in name}
    assert "tuning.net.2.weight" in different and not own["tuning.net.2.weight"].any()
    assert not any(name.startswith(("image_backbone", "fusion")) for name in different)


def test_the_papers_losses_fall(folder: Path, tmp_path: Path) -> None:
    config = experiment(
        folder,
        tmp_path,
        steps=25,
        pairs={"other_frame": 0, "jitter_deg": 1, "jitter_m": 0.02, "roll_deg": 0, "zoom": [1, 1]},
        losses={"coarse": {"kind": "circle"}, "fine": {"kind": "circle"}},
    )
    Trainer(config).run()
    losses = [json.loads(line)["loss"] for line in (tmp_path / "test" / "log.jsonl").read_text().splitlines()]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_validation_writes_the_best_weights(folder: Path, tmp_path: Path) -> None:
    config = experiment(
        folder,
        tmp_path,
        steps=2,
        validation={"scenes": [{"folder": folder}], "every": 2, "pairs": 2},
        inspect_every=2,
    )
    Trainer(config).run()
    assert load_model(tmp_path / "test" / "best.safetensors").config == config.model.build()
    records = [json.loads(line) for line in (tmp_path / "test" / "log.jsonl").read_text().splitlines()]
    assert 0 <= records[-1]["validation"]["mean"]["ir"] <= 1
    accumulator = EventAccumulator(str(tmp_path / "test" / "tensorboard")).Reload()
    assert {"train/loss", "train/lr", "train/gradient", "training_pair/ir", "validation/rr"} <= set(
        accumulator.Tags()["scalars"]
    )
    pictures = {"training_pair/matches", "training_pair/depth", "validation/0", "validation/1"}
    assert set(accumulator.Tags()["images"]) == pictures


def test_epochs(folder: Path, tmp_path: Path) -> None:
    held_out = {"scenes": [{"folder": folder}], "pairs": 1}
    config = experiment(
        folder, tmp_path, steps=None, epochs=2, epoch_pairs=3, save_epochs=2, validation=held_out
    )
    Trainer(config).run()  # of 2 pairs a step: steps 2 and 3 end an epoch
    run = tmp_path / "test"
    assert {path.stem for path in run.glob("*.safetensors")} == {"best", "last", "epoch-2"}
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [(r["step"], r["epoch"]) for r in records if "loss" in r] == [(1, 1), (2, 1), (3, 2)]
    assert [(r["step"], r["epoch"]) for r in records if "validation" in r] == [(2, 1), (3, 2)]


def test_resuming_keeps_the_pairs_a_step(folder: Path, tmp_path: Path) -> None:
    Trainer(experiment(folder, tmp_path, steps=1)).run()
    with pytest.raises(InputError, match=r"2 pairs per step, this one has 6; keep batch_size"):
        Trainer(experiment(folder, tmp_path, accumulate=3)).run(resume=True)


def test_resuming_keeps_the_learning_rate(folder: Path, tmp_path: Path) -> None:
    Trainer(experiment(folder, tmp_path, steps=1)).run()
    for optimizer in ({"lr": 1e-3}, {"lr": 3e-3, "scale_lr": True}):
        changed = experiment(folder, tmp_path, optimizer={"warmup": 1, **optimizer})
        with pytest.raises(InputError, match=r"learning rate 0\.003, this one has .*; keep optimizer\.lr"):
            Trainer(changed).run(resume=True)


def test_latest_epochs_are_kept(folder: Path, tmp_path: Path) -> None:
    config = experiment(folder, tmp_path, steps=None, epochs=11, epoch_pairs=2, save_epochs=1, keep_last=2)
    Trainer(config).run()
    assert {path.stem for path in (tmp_path / "test").glob("epoch-*")} == {"epoch-10", "epoch-11"}


def test_sgd(folder: Path, tmp_path: Path) -> None:
    """Its first step is the rate times the gradient, with momentum it goes on."""
    config = experiment(
        folder,
        tmp_path,
        steps=1,
        optimizer={"kind": "sgd", "momentum": 0.5, "lr": 1e-3, "warmup": 0, "clip": None, "weight_decay": 0},
    )
    trainer = Trainer(config)
    before = torch.cat([p.detach().flatten().clone() for p in trainer.model.parameters()])
    trainer.run()
    after = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    gradient = json.loads((tmp_path / "test" / "log.jsonl").read_text())["gradient"]
    assert (after - before).norm().item() == pytest.approx(1e-3 * gradient, rel=1e-3)
    assert trainer.optimizer.param_groups[0]["momentum"] == 0.5


def test_clipping_limits_the_step(folder: Path, tmp_path: Path) -> None:
    sgd = {"kind": "sgd", "momentum": 0, "lr": 1.0, "warmup": 0, "clip": 0.01, "weight_decay": 0}
    trainer = Trainer(experiment(folder, tmp_path, steps=1, optimizer=sgd))
    before = torch.cat([p.detach().flatten().clone() for p in trainer.model.parameters()])
    trainer.run()
    after = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    assert json.loads((tmp_path / "test" / "log.jsonl").read_text())["gradient"] > 0.1
    assert (after - before).norm().item() == pytest.approx(0.01, rel=1e-3)


class BrokenGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * torch.nan


@pytest.mark.filterwarnings("ignore:Error detected in", "ignore:Anomaly Detection has been enabled")
def test_a_nan_is_traced_to_its_operation(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Objective.forward

    def breaking(self: Objective, *arguments: Any, **named: Any) -> dict[str, torch.Tensor]:
        losses = forward(self, *arguments, **named)
        return losses | {"loss": BrokenGradient.apply(losses["loss"])}  # type: ignore[no-untyped-call]

    monkeypatch.setattr(Objective, "forward", breaking)
    with pytest.raises(InputError, match=r"BrokenGradientBackward' returned nan values"):
        Trainer(experiment(folder, tmp_path, steps=1, detect_anomaly=True)).run()
    with pytest.raises(InputError, match="not finite at step 0"):
        Trainer(experiment(folder, tmp_path, steps=1)).run()
    assert not torch.is_anomaly_enabled()


@pytest.mark.parametrize("deterministic", [True, False])
def test_cudnn_is_deterministic_during_the_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deterministic: bool
) -> None:
    seen = []
    step = Trainer.train_step

    def watched(self: Trainer, *arguments: Any) -> bool:
        seen.append(torch.backends.cudnn.deterministic)
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "train_step", watched)
    Trainer(experiment(folder, tmp_path, steps=1, deterministic=deterministic)).run()
    assert (seen, torch.backends.cudnn.deterministic) == ([deterministic], False)


def test_a_run_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    config = experiment(folder, tmp_path, steps=1)
    Trainer(config).run()
    with pytest.raises(InputError, match="already holds a run"):
        Trainer(config).run()


def test_nothing_to_resume(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to resume"):
        Trainer(experiment(folder, tmp_path)).run(resume=True)


def test_a_broken_loss_stops_the_run(folder: Path, tmp_path: Path) -> None:
    trainer = Trainer(experiment(folder, tmp_path, steps=1))
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(torch.nan)
    with pytest.raises(InputError, match=r"0-3/\d+_00000000, .*: not finite at step 0 \(loss nan"):
        trainer.run()
