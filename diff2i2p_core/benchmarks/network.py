"""The network, full and lite: encoding, matching, localization and the whole training step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from diff2i2p_core.benchmarks.measure import Case
from diff2i2p_core.benchmarks.pairs import wall_pair
from diff2i2p_core.data.pair import Batch, collate
from diff2i2p_core.engine.objective import Objective
from diff2i2p_core.geometry.pnp import solve_pnp
from diff2i2p_core.losses.settings import LossSettings
from diff2i2p_core.models.config import ModelConfig, lite_config, released_config
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.ops.pyramid import build_pyramid

FULL_POINTS, LITE_POINTS = 16_500, 5_000
"""A usual cloud of the papers' benchmarks at 2.5 cm, and a large submap at the lite network's 6 cm."""
FULL: dict[str, dict[str, Any]] = {
    "point pyramid": {"released_ms": 170},
    "image encoding": {"released_ms": 6800, "most_runs": 5},
    "cloud encoding": {"aim_ms": 1500, "released_ms": 2300, "most_runs": 10},
    "matching": {"most_runs": 10},
    "localization, cloud encoded before": {"aim_ms": 4000, "aim_mb": 1536, "most_runs": 5},
    "both encoded and matched": {"released_ms": 14_600, "released_mb": 2867, "most_runs": 3},
    "training step": {
        **{"aim_ms": 25_000, "released_ms": 46_700},
        **{"aim_mb": 4096, "released_mb": 5325, "most_runs": 3},
    },
    "training step, bfloat16": {"most_runs": 3},
}
"""Aims and the released code's figures for the full network's cases."""
COMMON_BIAS = 1.0
Work = Callable[[], Any]


def cases() -> list[Case]:
    full = [replace(case, **FULL[case.name]) for case in cases_of(released_config(), FULL_POINTS)]
    lite = cases_of(lite_config(), LITE_POINTS)
    return [
        replace(case, name=f"{network}: {case.name}", apart=True)
        for network, of_network in (("full", full), ("lite", lite))
        for case in of_network
    ]


def cases_of(config: ModelConfig, points: int) -> list[Case]:
    """All cases of one network with a cloud of so many points."""
    work: dict[str, Callable[[ModelConfig, int, str], Work]] = {
        "point pyramid": pyramid,
        "image encoding": image_encoding,
        "cloud encoding": cloud_encoding,
        "matching": matching,
        "localization, cloud encoded before": localization,
        "both encoded and matched": forward,
        "training step": training_step,
        "training step, bfloat16": partial(training_step, bf16=True),
    }
    return [Case(name, partial(prepare, config, points)) for name, prepare in work.items()]


def pyramid(config: ModelConfig, points: int, device: str) -> Work:
    del device  # always the CPU's work
    cloud = wall_pair(config, points).pyramid.points[0].numpy()
    return lambda: build_pyramid(cloud, config.points.voxel, config.points.neighbor_limits)


def image_encoding(config: ModelConfig, points: int, device: str) -> Work:
    model, batch = _model_and_batch(config, points, device)
    return torch.inference_mode()(lambda: model.encode_image(batch.images, batch.image_points, to_match=True))


def cloud_encoding(config: ModelConfig, points: int, device: str) -> Work:
    model, batch = _model_and_batch(config, points, device)
    return torch.inference_mode()(lambda: model.encode_cloud(batch.pyramid, batch.features))


def matching(config: ModelConfig, points: int, device: str) -> Work:
    """Fusion, coarse and fine matching of features that are there."""
    model, batch = _model_and_batch(config, points, device)
    with torch.inference_mode():
        [image] = model.encode_image(batch.images, batch.image_points, to_match=True)
        [submap] = model.encode_cloud(batch.pyramid, batch.features)
    return torch.inference_mode()(lambda: model.match(image, submap))


def localization(config: ModelConfig, points: int, device: str) -> Work:
    """Image in, pose out; the map's part was encoded when the map was made."""
    model, batch = _model_and_batch(config, points, device)
    [pair] = batch.pairs
    with torch.inference_mode():
        [submap] = model.encode_cloud(batch.pyramid, batch.features)

    @torch.inference_mode()
    def work() -> None:
        [image] = model.encode_image(batch.images, batch.image_points, to_match=True)
        found = model.match(image, submap)
        solve_pnp(found.pixels.cpu(), found.points.cpu(), pair.camera, found.scores.cpu())

    return work


def forward(config: ModelConfig, points: int, device: str) -> Work:
    model, batch = _model_and_batch(config, points, device)
    return torch.inference_mode()(
        lambda: model(batch.images, batch.pyramid, batch.features, batch.image_points)
    )


def training_step(config: ModelConfig, points: int, device: str, bf16: bool = False) -> Work:
    """Encoding, matching, all losses of the default settings, backward and the optimizer's step."""
    model, batch = _model_and_batch(config, points, device)
    objective = Objective(model, LossSettings(), seed=0, bf16=bf16).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def work() -> None:
        optimizer.zero_grad(set_to_none=True)
        objective(batch, epoch=1)["loss"].backward()
        optimizer.step()

    return work


def _model_and_batch(config: ModelConfig, points: int, device: str) -> tuple[Diff2I2P, Batch]:
    """An untrained network, and a pair for it. A common bias brings fine features of both branches close
    together: else nothing would match, and the work that follows matching would be left out."""
    torch.manual_seed(0)
    model = Diff2I2P(config)
    with torch.no_grad():
        for branch in (model.image_backbone, model.point_backbone):
            bias = branch.project.bias
            assert bias is not None
            bias += COMMON_BIAS
    return model.to(device).eval(), collate([wall_pair(config, points)]).to(device)
