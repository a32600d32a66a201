"""Known matches that replace the network's in tests of the localizer's logic."""

from __future__ import annotations

import numpy as np
import torch

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.network import Diff2I2PNetwork
from diff2i2p_core.models.features import Correspondences, SubmapFeatures
from diff2i2p_core.typing import Array

CAMERA = Camera(320, 240, 260, 260, 159.5, 119.5)
IMAGE = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)


def network_of(localizer: Localizer) -> Diff2I2PNetwork:
    """The proposer with the network."""
    (network,) = (proposer for proposer in localizer.proposers if isinstance(proposer, Diff2I2PNetwork))
    return network


def true_matches(
    submap: SubmapFeatures,
    camera: Camera,
    camera_from_submap: Array,
    *,
    step: int,
    outliers: float = 0.0,
    seed: int = 0,
) -> Correspondences:
    """Every `step`th of the submap's points that `camera` sees, and their pixels; some pixels are wrong."""
    points = submap.points.numpy()
    pixels, z = camera.project(transform_points(camera_from_submap, points))
    kept = np.flatnonzero(camera.contains(pixels, z))[::step]
    pixels = pixels[kept]
    rng = np.random.default_rng(seed)
    wrong = rng.uniform(0, 1, len(kept)) < outliers
    pixels[wrong] = rng.uniform(0, 100, (int(wrong.sum()), 2))
    nothing = torch.zeros(0, dtype=torch.long)
    return Correspondences(
        pixels=torch.from_numpy(pixels).float(),
        points=torch.from_numpy(points[kept]),
        scores=torch.ones(len(kept)),
        pixel_indices=nothing,
        point_indices=nothing,
        image_nodes=nothing,
        point_nodes=nothing,
    )
