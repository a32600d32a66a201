"""Benchmarks of the full and the lite network: encoding, matching, localization and a training step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from diff2i2p_core.benchmarks.measure import Case
from diff2i2p_core.benchmarks.pairs import (
    CAMERA,
    wall_cloud,
    wall_colors,
    wall_depth,
    wall_pair,
    wall_picture,
)
from diff2i2p_core.engine.experiment import OptimizerConfig
from diff2i2p_core.engine.objective import Objective
from diff2i2p_core.engine.optimization import make_optimizer
from diff2i2p_core.geometry.pnp import PnpSettings, solve_pnp
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.submaps import SubmapSettings
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.network import Diff2I2PNetwork
from diff2i2p_core.localization.settings import LocalizerSettings, Precision
from diff2i2p_core.losses.settings import LossSettings
from diff2i2p_core.mapping.build import map_of_one_cloud
from diff2i2p_core.mapping.map_file import MapInfo
from diff2i2p_core.models.config import ModelConfig, lite_config
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.released import released_config
from diff2i2p_core.ops.pyramid import build_pyramid
from diff2i2p_core.pairs.pair import Batch, collate

FULL_POINTS, LITE_POINTS = 16_500, 5_000
"""A typical cloud of the papers' benchmarks at 2.5 cm, and a large submap at the lite network's 6 cm."""
HEIGHTS = (240, 480, 720)
"""Heights of images, in addition to the one that a network is made for."""
FULL: dict[str, dict[str, Any]] = {
    "point pyramid": {"aim_ms": 100, "released_ms": 170},
    "image encoding": {"released_ms": 6800},
    "cloud encoding": {"aim_ms": 1500, "released_ms": 2300},
    "localization, 1 candidate": {"aim_ms": 4000, "aim_mb": 1536},
    "both encoded and matched": {"released_ms": 14_600, "released_mb": 2867},
    "training step": {"aim_ms": 25_000, "released_ms": 46_700, "aim_mb": 4096, "released_mb": 5325},
}
"""Targets, and figures of the released code, for the cases of the full network."""
LITE: dict[str, dict[str, Any]] = {"localization, 1 candidate": {"aim_ms": 250, "aim_mb": 1536}}
COMMON_BIAS = 1.0
Work = Callable[[], Any]


def cases() -> list[Case]:
    networks = {
        "full": (cases_of(released_config(), FULL_POINTS), FULL),
        "lite": (cases_of(lite_config(), LITE_POINTS), LITE),
    }
    named = []
    for network, (of_network, known) in networks.items():
        for case in of_network:
            slow = network == "full"  # its training step takes half a minute, more with a batch
            named.append(
                replace(
                    case,
                    name=f"{network}: {case.name}",
                    apart=True,
                    most_runs=(3 if "training" in case.name else 5) if slow else None,
                    needs_gpu=slow and "training step, batch" in case.name,
                    **known.get(case.name, {}),
                )
            )
    return [*named, Case("pose, 1000 matches, half of them wrong", pose)]


def cases_of(config: ModelConfig, points: int) -> list[Case]:
    """All cases of one network, with a cloud of `points` points."""
    own_height = config.image.height or CAMERA.height
    resized = {
        f"image encoding, {height} rows": partial(image_encoding, height=height)
        for height in HEIGHTS
        if height != own_height
    }
    work: dict[str, Callable[[ModelConfig, int, str], Work]] = {
        "point pyramid": pyramid,
        "image encoding": image_encoding,
        "image encoding, bfloat16": partial(image_encoding, bf16=True),
        "image encoding, batch of 4": partial(image_encoding, batch_size=4),
        **resized,
        "cloud encoding": cloud_encoding,
        "cloud encoding, batch of 4": partial(cloud_encoding, batch_size=4),
        "matching": matching,
        "matching, 3 submaps together": partial(matching, submaps=3),
        "localization, 1 candidate": partial(localization, candidates=1),
        "localization, 2 candidates": partial(localization, candidates=2),
        "localization, 3 candidates": partial(localization, candidates=3),
        "localization, 1 candidate, bfloat16": partial(localization, candidates=1, precision="bfloat16"),
        "both encoded and matched": forward,
        "training step": training_step,
        "training step, bfloat16": partial(training_step, bf16=True),
        "training step, batch of 4": partial(training_step, batch_size=4),
        "training step, batch of 4, bfloat16": partial(training_step, batch_size=4, bf16=True),
    }
    return [Case(name, partial(prepare, config, points)) for name, prepare in work.items()]


def pyramid(config: ModelConfig, points: int, device: str) -> Work:
    del device  # always runs on the CPU
    cloud = wall_pair(config, points).pyramid.points[0].numpy()
    return lambda: build_pyramid(cloud, config.points.voxel, config.points.neighbor_limits)


def image_encoding(
    config: ModelConfig,
    points: int,
    device: str,
    batch_size: int = 1,
    height: int | None = None,
    bf16: bool = False,
) -> Work:
    """Encodes like the localizer, only for matching."""
    image = config.image.model_copy(update={"height": height or config.image.height})
    model, batch = _model_and_batch(config.model_copy(update={"image": image}), points, device, batch_size)

    @torch.inference_mode()
    def work() -> None:
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            model.encode_image(batch.images, batch.image_points, to_match=True)

    return work


def cloud_encoding(config: ModelConfig, points: int, device: str, batch_size: int = 1) -> Work:
    model, batch = _model_and_batch(config, points, device, batch_size)
    return torch.inference_mode()(lambda: model.encode_cloud(batch.pyramid, batch.features))


def matching(config: ModelConfig, points: int, device: str, submaps: int = 1) -> Work:
    """Fusion, coarse and fine matching of given features."""
    model, batch = _model_and_batch(config, points, device)
    with torch.inference_mode():
        [image] = model.encode_image(batch.images, batch.image_points, to_match=True)
        encoded = model.encode_cloud(batch.pyramid, batch.features) * submaps
    return torch.inference_mode()(lambda: model.match_many(image, encoded))


def localization(
    config: ModelConfig, points: int, device: str, candidates: int, precision: Precision = "float32"
) -> Work:
    """From image to answer, with a map of as many submaps as candidates."""
    model = _model(config, device)
    cloud = wall_cloud(points, config.points.voxel)
    info = MapInfo(
        source="wall",
        weights_name=config.name,
        weights_id="",
        mode=config.mode,
        point_features=config.point_features,
        settings=SubmapSettings(spacing=config.points.voxel),
    )
    one = map_of_one_cloud(PointCloud(cloud, wall_colors(cloud)), model, info)
    several = replace(
        one,
        views=np.repeat(one.views, candidates, axis=0),
        submaps=list(one.submaps) * candidates,
    )
    settings = LocalizerSettings(candidates=candidates, plain_inliers=points, precision=precision)
    localizer = Localizer(several, [Diff2I2PNetwork(model, several)], settings)
    image, depth = wall_picture()
    return lambda: localizer.localize(image, CAMERA, depth=depth)


def pose(device: str, solver: str = "auto") -> Work:
    """Robust PnP with 1000 matches, half of them wrong. Always runs on the CPU."""
    del device
    rng = np.random.default_rng(0)
    pixels = rng.uniform((0, 0), (CAMERA.width, CAMERA.height), (1000, 2))
    rays = np.column_stack([(pixels - (CAMERA.cx, CAMERA.cy)) / (CAMERA.fx, CAMERA.fy), np.ones(1000)])
    cloud = rays * wall_depth(*pixels.T)[:, None]
    pixels += rng.normal(0, 1, pixels.shape)
    pixels[:500] = rng.permutation(pixels[:500])
    settings = PnpSettings(solver=solver)
    return lambda: solve_pnp(pixels, cloud, CAMERA, settings=settings)


def forward(config: ModelConfig, points: int, device: str) -> Work:
    model, batch = _model_and_batch(config, points, device)
    return torch.inference_mode()(
        lambda: model(batch.images, batch.pyramid, batch.features, batch.image_points)
    )


def training_step(
    config: ModelConfig, points: int, device: str, batch_size: int = 1, bf16: bool = False
) -> Work:
    """Encoding, matching, all losses of the default settings, the backward pass and the optimizer step."""
    model, batch = _model_and_batch(config, points, device, batch_size)
    objective = Objective(model, LossSettings(), seed=0, bf16=bf16).train()
    optimizer = make_optimizer(model.parameters(), OptimizerConfig(lr=1e-4))

    def work() -> None:
        optimizer.zero_grad(set_to_none=True)
        objective(batch, epoch=1)["loss"].backward()
        optimizer.step()

    return work


def _model_and_batch(
    config: ModelConfig, points: int, device: str, batch_size: int = 1
) -> tuple[Diff2I2P, Batch]:
    return _model(config, device), collate([wall_pair(config, points)] * batch_size).to(device)


def _model(config: ModelConfig, device: str) -> Diff2I2P:
    """An untrained network. A common bias makes the fine features of both branches similar. Otherwise nothing
    would match, and the work after matching would be skipped."""
    torch.manual_seed(0)
    model = Diff2I2P(config)
    with torch.no_grad():
        for branch in (model.image_backbone, model.point_backbone):
            bias = branch.project.bias
            assert bias is not None
            bias += COMMON_BIAS
    return model.to(device).eval()
