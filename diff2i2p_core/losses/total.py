"""The matching objective of one pair: coarse, fine and tuning losses with their weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diff2i2p_core.losses.kinds import coarse_loss, fine_loss
from diff2i2p_core.losses.settings import CoarseSettings, LossSettings
from diff2i2p_core.losses.tuning import tuning_loss
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.features import Correspondences, FusedNodes, ImageFeatures, SubmapFeatures
from diff2i2p_core.models.patches import image_patches
from diff2i2p_core.pairs.pair import Pair, true_points
from diff2i2p_core.pairs.targets import Targets


def draw_correspondences(
    targets: Targets, count: int, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Rows of the pixels and points of up to `count` true correspondences."""
    drawn = generator.permutation(len(targets.pixel_indices))[:count]
    return torch.from_numpy(targets.pixel_indices[drawn]), torch.from_numpy(targets.point_indices[drawn])


def needs_matches(model: Diff2I2P, settings: LossSettings) -> bool:
    """Whether `pair_loss` uses the network's matches."""
    moved = settings.fine.weight > 0 and settings.fine.deformed_points
    return model.tuning is not None and (settings.tuning.used or moved)


def pair_loss(
    model: Diff2I2P,
    pair: Pair,
    image: ImageFeatures,
    submap: SubmapFeatures,
    nodes: FusedNodes,
    matches: Correspondences | None,
    settings: LossSettings,
    seed: int,
    drawn: tuple[Tensor, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The losses of one pair by name, without those of weight 0. `loss` is their weighted sum.

    Args:
        matches: the result of `model.match`; required if `needs_matches`.
        seed: random draws depend only on it and the pair's number, not on the batch size or the number of
            processes.
        drawn: rows of pixels and points (C,), (C,) for the fine loss, instead of a random draw.
    """
    targets = pair.targets
    losses: dict[str, Tensor] = {}
    total = nodes.image.sum() * 0  # has a gradient even if there are no losses
    if settings.coarse.weight > 0:
        used = _used_nodes(model, targets, image, submap, settings.coarse)
        losses["coarse"] = coarse_loss(nodes.image, nodes.points, used, targets.overlaps, settings.coarse)
        total = total + settings.coarse.weight * losses["coarse"]
        if settings.coarse.multi_scale > 0:
            early = coarse_loss(image.nodes, submap.nodes, used, targets.overlaps, settings.coarse)
            losses["multi_scale"] = early
            total = total + settings.coarse.weight * settings.coarse.multi_scale * early
    if settings.fine.weight > 0:
        if drawn is None:
            generator = np.random.default_rng([seed, pair.index])
            drawn = draw_correspondences(targets, settings.fine.samples, generator)
        positions = submap.points
        if settings.fine.deformed_points and matches is not None:
            positions = matches.deformed(positions)
        losses["fine"] = fine_loss(image, submap, positions, pair, drawn, model.config, settings.fine)
        total = total + settings.fine.weight * losses["fine"]
    if model.tuning is not None and settings.tuning.used:
        assert matches is not None
        rows = matches.pixel_indices.cpu().numpy()
        truth = torch.from_numpy(true_points(targets, pair.camera_from_cloud, rows)).to(matches.points)
        counted = torch.from_numpy(targets.known[rows] | settings.tuning.depthless_pixels)
        tuning = tuning_loss(model, image, submap, matches, truth, counted.to(truth.device))
        losses |= tuning._asdict()
        total = total + settings.tuning.offset_weight * tuning.offset
        total = total + settings.tuning.residual_weight * tuning.residual
    return {"loss": total, **losses}


def _used_nodes(
    model: Diff2I2P, targets: Targets, image: ImageFeatures, submap: SubmapFeatures, settings: CoarseSettings
) -> Tensor:
    """The pairs of nodes (M, S) that the coarse losses use."""
    device = image.nodes.device
    if settings.unknown_nodes == "negative":
        return torch.ones(len(image.nodes), len(submap.nodes), dtype=torch.bool, device=device)
    patches = image_patches(image.grid, image.fine_size, model.config.image.patch_step)
    known = torch.from_numpy(targets.known)
    seen = torch.cat([known[level].any(1) for level in patches]).to(device)
    return (image.node_valid & seen).unsqueeze(1) & submap.node_valid
