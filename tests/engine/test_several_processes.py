"""Training in two processes (gloo), and a run that a signal ends; each is a separate command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from tiny_prior import write_tiny_prior

from diff2i2p_core.engine.config_file import load_config
from diff2i2p_core.engine.run_folder import RunFolder
from diff2i2p_core.engine.trainer import Trainer
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames
from diff2i2p_core.weights.checkpoint import load_model

REPO = Path(__file__).parents[2]
COMMAND = [sys.executable, str(REPO / "training" / "train.py")]

EXPERIMENT = {
    "steps": 3,
    "workers": 0,
    "threads": 1,
    "log_every": 1,
    "device": "cpu",
    "cache": None,
    "model": {
        "replace": {
            "fine_dim": 16,
            "image": {"height": 120, "channels": [8, 16, 16], "blocks": [1, 1, 1], "node_stride": 8},
            "points": {"voxel": 0.1, "width": 8, "blocks": 1, "neighbor_limits": [12, 12, 12]},
            "fusion": {"dim": 32, "heads": 2, "layers": 2, "octaves": 4},
        }
    },
    "optimizer": {"lr": 3e-3, "warmup": 1},
}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("room")
    room = make_room(3)
    write_frames(folder, room, Camera(160, 120, 131, 131, 79.5, 59.5), camera_path(room, 4, 3), noise=False)
    path = folder / "experiment.yaml"
    held_out = {"scenes": [{"folder": str(folder)}], "pairs": 3, "every": 3}
    values = {"output": str(folder), "scenes": [{"folder": str(folder)}], "validation": held_out}
    path.write_text(yaml.safe_dump({**EXPERIMENT, **values}))
    return path


def start(experiment: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, str(experiment), *arguments],
        env={**os.environ, "PYTHONPATH": str(REPO), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def flat(model: Diff2I2P) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def weights(path: Path) -> torch.Tensor:
    return flat(load_model(path))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_two(experiment: Path, *arguments: str) -> list[subprocess.Popen[str]]:
    """Two processes of one run, as a launcher starts them."""
    port = str(free_port())
    rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    return [start(experiment, *arguments, RANK=rank, LOCAL_RANK=rank, **rendezvous) for rank in ("0", "1")]


def test_processes_and_accumulation_only_divide_the_work(experiment: Path) -> None:
    processes = start_two(experiment, "name=two")
    runs = {"double": ["batch_size=2"], "accumulated": ["accumulate=2"]}
    for name, overrides in runs.items():
        Trainer(load_config(experiment, [f"name={name}", *overrides])).run()
    for process in processes:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    assert out == ""  # the second process says nothing

    folder = experiment.parent
    logs = {name: RunFolder(folder / name).records() for name in ("two", *runs)}
    final = {name: weights(folder / name / "last.safetensors") for name in logs}
    start_model = Trainer(load_config(experiment, ["name=start"])).model
    moved = (final["double"] - flat(start_model)).norm()
    for name in ("two", "accumulated"):
        assert len(logs[name]) == 4  # three steps and a validation
        for record, expected in zip(logs[name][:3], logs["double"][:3], strict=True):
            for key in ("loss", "coarse", "fine", "gradient", "lr"):
                assert record[key] == pytest.approx(expected[key], rel=1e-4), (name, key)
        assert logs[name][3]["validation"]["mean"]["pairs"] == 3
        assert (final[name] - final["double"]).norm() < 1e-3 * moved, name


@pytest.mark.slow
def test_two_processes_with_tuning_pose_loss_and_csd(experiment: Path, tmp_path: Path) -> None:
    """With a prior in miniature, and no gate: the poses of an untrained network are all wrong."""
    pytest.importorskip("diffusers", reason="needs the [train] extra")
    write_tiny_prior(tmp_path)
    csd = f"weight: 0.001, start_epoch: 1, dtype: fp32, min_visible: 0, base: {tmp_path}/base"
    overrides = [
        "model.replace.tuning=true",
        "model.replace.matching.fine_similarity=0",
        "losses.pose={gate_deg: null, gate_m: null, inlier_px: null}",
        f"losses.csd={{{csd}, controlnet: {tmp_path}/controlnet}}",
        "validation.scenes=[]",
    ]
    processes = start_two(experiment, "name=terms-two", *overrides)
    Trainer(load_config(experiment, ["name=terms-one", "accumulate=2", *overrides])).run()
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    folder = experiment.parent
    logs = [RunFolder(folder / f"terms-{name}").records() for name in ("two", "one")]
    for one, other in zip(*logs, strict=True):
        assert one["csd_used"] == other["csd_used"] > 0
        for name in ("loss", "csd", "rotation", "translation", "offset", "residual", "gradient"):
            assert one[name] == pytest.approx(other[name], rel=1e-4), name
    start_model = Trainer(load_config(experiment, ["name=start", *overrides])).model
    one, other = (weights(folder / f"terms-{name}" / "last.safetensors") for name in ("two", "one"))
    assert (one - other).norm() < 1e-3 * (other - flat(start_model)).norm()


def test_the_released_launcher(experiment: Path) -> None:
    """It gives each process --local-rank."""
    launch = ["-m", "torch.distributed.launch", "--nproc-per-node", "2", "--master-port", str(free_port())]
    values = ["name=launched", "steps=1", "validation.scenes=[]"]
    run = subprocess.run(
        [sys.executable, *launch, COMMAND[1], str(experiment), *values],
        env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    state = torch.load(experiment.parent / "launched" / "checkpoint.pt", weights_only=True)
    assert state["pairs_per_step"] == 2


def test_a_resumed_run_equals_an_uninterrupted_one(experiment: Path) -> None:
    overrides = ["steps=1000", "workers=1", "optimizer.schedule=constant", "validation.scenes=[]"]
    folder = experiment.parent / "stopped"
    process = start(experiment, "name=stopped", *overrides)
    deadline = time.monotonic() + 180
    while not ((folder / "log.jsonl").exists() and (folder / "log.jsonl").read_text().count("\n") >= 2):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 128 + signal.SIGTERM
    assert "SIGTERM: stopping after this step" in err
    assert "stopped by SIGTERM after step" in err.splitlines()[-1]

    steps = torch.load(folder / "checkpoint.pt", weights_only=True)["step"] + 2
    overrides[0] = f"steps={steps}"
    resumed = Trainer(load_config(experiment, ["name=stopped", *overrides])).run(resume=True)
    whole = Trainer(load_config(experiment, ["name=whole", *overrides])).run()
    assert torch.equal(weights(resumed), weights(whole))
    logs = [RunFolder(path.parent).records() for path in (resumed, whole)]
    assert [r["loss"] for r in logs[0]] == [r["loss"] for r in logs[1]]
