"""The whole pipeline memorizes four pairs: matches, poses, and what tuning adds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from four_views import UNCHANGED, write_four_views

from diff2i2p_core.engine.experiment import TrainConfig
from diff2i2p_core.engine.trainer import Trainer

SMALL = {
    "fine_dim": 32,
    "tuning": True,
    "image": {"height": 120, "channels": [16, 32, 32], "blocks": [1, 1, 1], "node_stride": 8},
    "points": {"voxel": 0.05, "width": 16, "blocks": 1, "neighbor_limits": [16, 16, 16]},
    "fusion": {"dim": 64, "heads": 2, "layers": 2, "octaves": 6},
}


@pytest.mark.slow
def test_a_small_network_learns_four_pairs_by_heart(tmp_path: Path) -> None:
    write_four_views(tmp_path / "room")
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
