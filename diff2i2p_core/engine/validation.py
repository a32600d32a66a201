"""Registration quality on held-out pairs: inlier ratio and pose errors of the whole pipeline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from diff2i2p_core.data.pair import Pair, collate, true_points
from diff2i2p_core.geometry.pnp import PoseEstimate, solve_pnp
from diff2i2p_core.geometry.se3 import invert, rotation_error_deg, translation_error
from diff2i2p_core.models.diff2i2p import Diff2I2P

INLIER_RADIUS = 0.1
"""Metres between a pixel's true point and its match, for the inlier ratio."""


@dataclass(frozen=True)
class PairResult:
    """How well one pair was registered; errors are infinite where no pose was found."""

    correspondences: int
    inlier_ratio: float
    translation_m: float
    rotation_deg: float


@torch.no_grad()
def register_pair(model: Diff2I2P, pair: Pair) -> PairResult:
    """Run network and PnP on one pair and compare with its truth."""
    batch = collate([pair])
    device = model.device
    points = None if batch.image_points is None else batch.image_points.to(device)
    match = model(batch.images.to(device), batch.pyramid.to(device), batch.features.to(device), points)[0].to(
        "cpu"
    )
    rows = match.pixel_indices.numpy()
    known = pair.targets.pixel_points[rows, 2] > 0
    matched = match.points.numpy()
    distances = np.linalg.norm(true_points(pair.targets, pair.camera_from_cloud)[rows] - matched, axis=1)
    ratio = float((distances[known] < INLIER_RADIUS).mean()) if known.any() else 0.0
    pose = solve_pnp(match.pixels.numpy(), matched, pair.camera, match.scores.numpy())
    if not isinstance(pose, PoseEstimate):
        return PairResult(len(match), ratio, np.inf, np.inf)
    cloud_from_camera = invert(pose.camera_from_points)
    truth = invert(pair.camera_from_cloud)
    return PairResult(
        len(match),
        ratio,
        translation_error(cloud_from_camera, truth),
        rotation_error_deg(cloud_from_camera, truth),
    )


def summarize(results: Iterable[PairResult]) -> dict[str, float]:
    """Means and medians over pairs: IR, correspondences, recalls, median errors."""
    rows = list(results)
    translation = np.array([r.translation_m for r in rows])
    rotation = np.array([r.rotation_deg for r in rows])

    def recall(metres: float, degrees: float) -> float:
        return float(((translation < metres) & (rotation < degrees)).mean())

    return {
        "inlier_ratio": float(np.mean([r.inlier_ratio for r in rows])),
        "correspondences": float(np.mean([r.correspondences for r in rows])),
        "recall_010m_5deg": recall(0.10, 5),
        "recall_025m_10deg": recall(0.25, 10),
        "median_translation_m": float(np.median(translation)),
        "median_rotation_deg": float(np.median(rotation)),
    }
