"""The network stage by stage, and one training step of it.

The comparisons with the released code and the golden set (tests/golden) call the same functions, so what the
first prove holds for the code that made the second.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diff2i2p_core.losses.settings import LossSettings
from diff2i2p_core.losses.total import pair_loss
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.features import Correspondences, FusedNodes, ImageFeatures, SubmapFeatures
from diff2i2p_core.pairs.pair import Pair

Rows = tuple[Tensor, Tensor]
"""Rows (C,) of fine pixels and of points."""


@dataclass(frozen=True)
class Stages:
    """What each stage hands on, on the CPU."""

    image: ImageFeatures
    submap: SubmapFeatures
    nodes: FusedNodes
    matches: Correspondences


@dataclass(frozen=True)
class TrainingStep:
    """Losses and the gradients of their weighted sum, by name."""

    losses: dict[str, float]
    gradients: dict[str, Tensor]


def run_stages(model: Diff2I2P, pair: Pair, device: str = "cpu") -> Stages:
    """One pair through the network, without gradients."""
    model = model.to(device)
    image_points = None if pair.image_points is None else pair.image_points.to(device)
    # Convolutions on a GPU would round to TF32.
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        image = model.encode_image(pair.image.to(device), image_points)[0]
        submap = model.encode_cloud(pair.pyramid.to(device), pair.features.to(device))[0]
        nodes = model.fuse(image, submap)
        matches = model.match(image, submap, nodes)
    return Stages(image.to("cpu"), submap.to("cpu"), nodes.to("cpu"), matches.to("cpu"))


def training_step(
    model: Diff2I2P, pair: Pair, settings: LossSettings, matched: Rows, drawn: Rows
) -> TrainingStep:
    """The matching losses of one pair and their gradients, of given matches. `drawn`: the true
    correspondences that the fine loss takes."""
    image = model.encode_image(pair.image, pair.image_points)[0]
    submap = model.encode_cloud(pair.pyramid, pair.features)[0]
    nodes = model.fuse(image, submap)
    matches = correspondences(model, image, submap, matched)
    losses = pair_loss(model, pair, image, submap, nodes, matches, settings, 0, drawn)
    model.zero_grad()
    losses["loss"].backward()
    return TrainingStep(
        {name: value.item() for name, value in losses.items()},
        {name: p.grad for name, p in model.named_parameters() if p.grad is not None},
    )


def correspondences(
    model: Diff2I2P, image: ImageFeatures, submap: SubmapFeatures, matched: Rows
) -> Correspondences:
    """Given matches with their scores and tuned points; of no pair of nodes."""
    none = torch.zeros(0, dtype=torch.long)
    return model.correspondences(image, submap, *matched, none, none)
