"""A whole run on a pretended GPU, with every loss: no tensor stays on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate import Accelerator
from pretended_gpu import CUDA, on_gpu, pretended_gpu

from diff2i2p_core.engine.experiment import TrainConfig
from diff2i2p_core.engine.trainer import Trainer
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames

TINY = {
    "tuning": True,
    "fine_dim": 16,
    "image": {"height": 120, "channels": [8, 16, 16], "blocks": [1, 1, 1], "node_stride": 8},
    "points": {"voxel": 0.1, "width": 8, "blocks": 1, "neighbor_limits": [12, 12, 12]},
    "fusion": {"dim": 32, "heads": 2, "layers": 2, "octaves": 4},
    "matching": {"fine_similarity": 0.0, "patch_points": 48, "patch_min_points": 2},
}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("room")
    room = make_room(3)
    camera = Camera(160, 120, 131, 131, 79.5, 59.5)
    write_frames(folder, room, camera, camera_path(room, 4, 3), noise=False)
    return folder


@pytest.mark.parametrize(
    ("precision", "mode", "kind", "csd"),
    [("fp32", "mono", "circle", "control"), ("bf16", "rgbd", "contrastive", "released")],
)
def test_run(
    room: Path,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    mode: str,
    kind: str,
    csd: str,
) -> None:
    diffusion = {"base": str(model_folder / "base"), "controlnet": str(model_folder / "controlnet")}
    losses = {
        "coarse": {"kind": kind},
        "fine": {"kind": kind},
        "pose": {"gate_deg": None, "gate_m": None},
        "csd": {"weight": 1, "start_epoch": 1, "mode": csd, "min_visible": 0, **diffusion},
    }
    settings = {
        "name": "test", "steps": 2, "workers": 0, "inspect_every": 1, "batch_size": 2, "cache": None,
        "output": tmp_path, "precision": precision, "losses": losses, "scenes": [{"folder": room}],
        "model": {"preset": "lite", "mode": mode, "replace": TINY},
        "validation": {"scenes": [{"folder": room}], "pairs": 1, "every": 1},
    }  # fmt: skip
    with pretended_gpu(monkeypatch):
        monkeypatch.setattr(Accelerator, "device", CUDA)
        trainer = Trainer(TrainConfig.model_validate(settings))
        trainer.run()
        assert trainer.device == CUDA
        parameters = list(trainer.model.parameters())
        assert all(map(on_gpu, parameters))
        assert all(p.grad is not None and on_gpu(p.grad) and p.grad.isfinite().all() for p in parameters)
        assert all(r["csd_used"] > 0 for r in trainer.folder.records() if "loss" in r)
        resumed = Trainer(TrainConfig.model_validate({**settings, "steps": 3}))
        resumed.run(resume=True)
        states = resumed.optimizer.state.values()
        assert all(on_gpu(s["exp_avg"]) and s["step"] == 3 for s in states)
