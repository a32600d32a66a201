"""The whole pipeline memorizes four pairs: matches, poses, and what tuning adds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diff2i2p_core.engine.experiment import TrainConfig
from diff2i2p_core.engine.trainer import Trainer
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames

SMALL = {
    "fine_dim": 32,
    "tuning": True,
    "image": {"height": 120, "channels": [16, 32, 32], "blocks": [1, 1, 1], "node_stride": 8},
    "points": {"voxel": 0.05, "width": 16, "blocks": 1, "neighbor_limits": [16, 16, 16]},
    "fusion": {"dim": 64, "heads": 2, "layers": 2, "octaves": 6},
}
UNCHANGED = {
    "other_frame": 0, "jitter_deg": 0, "jitter_m": 0, "roll_deg": 0, "zoom": [1, 1], "color_jitter": 0,
    "point_noise": 0, "point_dropout": 0,
}  # fmt: skip


@pytest.mark.slow
def test_a_small_network_learns_four_pairs_by_heart(tmp_path: Path) -> None:
    room = make_room(3)
    path = camera_path(room, 40, 3)[::13]
    write_frames(tmp_path / "room", room, Camera(160, 120, 131, 131, 79.5, 59.5), path, noise=False)
    scene = {"folder": tmp_path / "room"}
    config = TrainConfig.model_validate(
        {
            "steps": 240,
            "workers": 0,
            "log_every": 40,
            "cache": None,
            "output": tmp_path,
            "name": "run",
            "model": {"preset": "lite", "replace": SMALL},
            "losses": {
                "coarse": {"kind": "contrastive"},
                "fine": {"kind": "contrastive", "samples": 320},
                # A tenth of the default: offsets show within these few steps.
                "tuning": {"offset_weight": 0.02},
            },
            "pairs": UNCHANGED,
            "optimizer": {"lr": 4e-3, "warmup": 10},
            "scenes": [scene],
            "validation": {"scenes": [scene], "pairs": 4, "every": 240},
        }
    )
    Trainer(config).run()
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    held = records[-1]["validation"]["mean"]
    assert held["ir"] > 0.5
    assert held["rr"] > 0.9
    steps = [record for record in records if "loss" in record]
    assert steps[-1]["pose_used"] > 0.95
    assert steps[-1]["translation"] < 0.3 * steps[1]["translation"]
    assert steps[-1]["rotation"] < 0.3 * steps[1]["rotation"]
    assert steps[-1]["residual"] < steps[-1]["untuned"]
