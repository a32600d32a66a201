"""The matching objective of one pair: coarse, fine and tuning losses with their weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diff2i2p_core.data.pair import Pair, true_points
from diff2i2p_core.data.targets import node_overlaps, positive_pixels, positive_radius
from diff2i2p_core.losses.coarse import NodeOverlaps, coarse_circle_loss, coarse_contrastive_loss
from diff2i2p_core.losses.fine import fine_circle_loss, soft_contrastive_loss
from diff2i2p_core.losses.settings import LossSettings
from diff2i2p_core.losses.tuning import tuning_loss
from diff2i2p_core.models.config import ModelConfig
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.features import Correspondences, FusedNodes, ImageFeatures, SubmapFeatures
from diff2i2p_core.models.patches import image_patches


def sample_correspondences(pair: Pair, count: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Up to `count` true pixel-point pairs: each drawn pixel with its closest point."""
    targets = pair.targets
    order = np.argsort(targets.close_distances, kind="stable")
    pixels, first = np.unique(targets.close_pixels[order], return_index=True)
    chosen = generator.permutation(len(pixels))[:count]
    rows = order[first[chosen]]
    return torch.from_numpy(targets.close_pixels[rows]), torch.from_numpy(targets.close_points[rows])


def needs_matches(model: Diff2I2P, settings: LossSettings) -> bool:
    """Whether `pair_loss` uses the network's own matches."""
    return model.tuning is not None and settings.tuning.used


def pair_loss(
    model: Diff2I2P,
    pair: Pair,
    image: ImageFeatures,
    submap: SubmapFeatures,
    nodes: FusedNodes,
    matches: Correspondences | None,
    settings: LossSettings,
    seed: int,
) -> dict[str, Tensor]:
    """The losses of one pair by name; `loss` is their weighted sum. What is drawn depends on the seed and the
    pair's number alone, so neither batch size nor the number of processes changes it.

    `matches`: what `model.match` found, if `needs_matches`.
    """
    config = model.config
    generator = np.random.default_rng([seed, pair.index])
    patches = image_patches(image.grid, image.fine_size, config.image.patch_step)
    overlaps = NodeOverlaps(*node_overlaps(pair.targets, patches, submap.patches, len(submap.points)))
    known = torch.from_numpy(pair.targets.pixel_points[:, 2] > 0).to(image.fine.device)
    # A node without any known depth has no truth: neither positive nor negative.
    image_valid = image.node_valid & torch.cat([known[level.to(known.device)].any(1) for level in patches])
    used = image_valid.unsqueeze(1) & submap.node_valid.unsqueeze(0)

    def on_nodes(image_nodes: Tensor, point_nodes: Tensor) -> Tensor:
        if settings.coarse.kind == "circle":
            released = settings.coarse.negatives == "smaller"
            return coarse_circle_loss(image_nodes, point_nodes, used, overlaps, released)
        return coarse_contrastive_loss(image_nodes, point_nodes, used, overlaps, settings.coarse.temperature)

    coarse = on_nodes(nodes.image, nodes.points)
    early = on_nodes(image.nodes, submap.nodes)
    fine = _fine_loss(pair, image, submap, settings, generator, config)
    total = settings.coarse.weight * (coarse + settings.coarse.multi_scale * early)
    total = total + settings.fine.weight * fine
    losses = {"coarse": coarse, "multi_scale": early, "fine": fine}
    if needs_matches(model, settings):
        assert matches is not None
        known_depth = pair.targets.pixel_points[:, 2] > 0
        counted = np.ones_like(known_depth) if settings.tuning.depthless_pixels else known_depth
        tuning = tuning_loss(
            model, image, matches, true_points(pair.targets, pair.camera_from_cloud), counted
        )
        total = total + settings.tuning.offset_weight * tuning.offset
        total = total + settings.tuning.residual_weight * tuning.residual
        losses |= {"offset": tuning.offset, "residual": tuning.residual}
    return {"loss": total, **losses}


def _fine_loss(
    pair: Pair,
    image: ImageFeatures,
    submap: SubmapFeatures,
    settings: LossSettings,
    generator: np.random.Generator,
    config: ModelConfig,
) -> Tensor:
    device, voxel = image.fine.device, config.points.voxel
    pixels, points = (
        index.to(device) for index in sample_correspondences(pair, settings.fine.samples, generator)
    )
    if not len(pixels):
        return image.fine.sum() * 0
    truth = torch.from_numpy(true_points(pair.targets, pair.camera_from_cloud)).float().to(device)
    projected = torch.from_numpy(pair.targets.point_pixels).to(device)
    pixel_features, point_features = image.fine[pixels], submap.fine[points]
    if settings.fine.kind == "circle":
        radius, radius_px = positive_radius(config), positive_pixels(config)
        return fine_circle_loss(
            pixel_features,
            point_features,
            torch.cdist(truth[pixels], submap.points[points]),
            torch.cdist(image.pixels[pixels], projected[points]),
            positive=(radius, radius_px),
            negative=(4 * voxel, 1.5 * radius_px),
        )
    to_points = torch.cdist(truth[pixels], submap.points).square()
    to_pixels = torch.cdist(projected[points], image.pixels).square()
    to_pixels = to_pixels.masked_fill(~image.fine_valid, torch.inf)
    stride = float(config.image.fine_stride)
    forward = soft_contrastive_loss(
        pixel_features, submap.fine, to_points, 0.5 * voxel, settings.fine.temperature
    )
    backward = soft_contrastive_loss(
        point_features, image.fine, to_pixels, 0.7 * stride, settings.fine.temperature
    )
    return 0.5 * (forward + backward)
