"""A benchmark of three pairs in two scenes, and an experiment on it with weights of two epochs."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import torch

from diff2i2p_core.geometry.se3 import exp
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.weights.checkpoint import load_model, save_model

NAMES = ["attic/01-000_01-000", "attic/01-001_01-001", "cellar/01-000_01-000"]
MATCHING = 3
"""The epoch whose weights find matches, though wrong ones."""


def write_pair(root: Path, scene: str, number: int) -> dict[str, object]:
    """A wall with a step, 64x48; the cloud is what the depth shows, in another frame."""
    folder = root / "data" / scene / "seq-01"
    folder.mkdir(parents=True, exist_ok=True)
    np.savetxt(root / "data" / scene / "camera-intrinsics.txt", [[60, 0, 32], [0, 60, 24], [0, 0, 1]])
    rng = np.random.default_rng(number)
    depth = np.full((48, 64), 1500, np.uint16)
    depth[:, 30:] = 1800
    cv2.imwrite(str(folder / f"color_{number:03d}.png"), rng.integers(0, 255, (48, 64, 3), np.uint8))
    cv2.imwrite(str(folder / f"depth_{number:03d}.png"), depth)
    v, u = np.indices(depth.shape)
    z = depth / 1000
    seen = np.stack([(u - 32) / 60 * z, (v - 24) / 60 * z, z], -1).reshape(-1, 3)
    camera_from_cloud = exp([0.1, -0.2, 0.05, 0.1, 0.2, -0.1])
    np.save(folder / f"cloud_{number:03d}.npy", (seen - camera_from_cloud[:3, 3]) @ camera_from_cloud[:3, :3])
    files = {
        f"{key}_file": f"{scene}/seq-01/{stem}_{number:03d}.{kind}"
        for key, stem, kind in (
            ("image", "color", "png"),
            ("depth", "depth", "png"),
            ("cloud", "cloud", "npy"),
        )
    }
    return {"scene_name": scene, **files, "overlap": 0.9, "cloud_to_image": camera_from_cloud.tolist()}


def write_experiment(root: Path, tiny_weights: Path) -> Path:
    """Write the benchmark, the run and its configuration. Returns the configuration."""
    records = [write_pair(root, "attic", 0), write_pair(root, "attic", 1), write_pair(root, "cellar", 0)]
    (root / "metadata").mkdir()
    (root / "metadata" / "test-full.jsonl").write_text("\n".join(json.dumps(r) for r in records) + "\n")
    config = load_model(tiny_weights).config
    config = config.model_copy(
        update={"point_features": "geometry", "image": config.image.model_copy(update={"height": 48})}
    )
    for epoch in (1, 2, MATCHING):
        torch.manual_seed(epoch)
        model = Diff2I2P(config)
        if epoch == MATCHING:
            for branch in (model.image_backbone, model.point_backbone):
                torch.nn.init.constant_(branch.get_parameter("project.bias"), 1.0)
        save_model(model, root / "runs" / "tiny" / f"epoch-{epoch}.safetensors")
    path = root / "experiment.yaml"
    path.write_text(
        f"name: tiny\nsteps: 1\nworkers: 0\noutput: {root}/runs\n"
        f"benchmark: {{root: {root}}}\nmodel: {{point_features: geometry}}\n"
    )
    return path
