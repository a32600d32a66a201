"""Fine losses on pixel and point features: the circle loss of 2D3D-MATR, and a dense contrastive loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from diff2i2p_core.losses.circle import circle_loss
from diff2i2p_core.losses.settings import FineSettings
from diff2i2p_core.models.config import ModelConfig
from diff2i2p_core.models.features import ImageFeatures, SubmapFeatures
from diff2i2p_core.pairs.pair import Pair, true_points
from diff2i2p_core.pairs.targets import positive_pixels, positive_radius

SCALE = 24.0


@dataclass(frozen=True)
class DrawnPairs:
    """C true correspondences drawn from a pair, and what a loss compares them with."""

    image: ImageFeatures
    submap: SubmapFeatures
    pixels: Tensor
    """(C,) rows of fine pixels, and `points` (C,) of the submap's points."""
    points: Tensor
    positions: Tensor
    """(N, 3) positions of the submap's points that distances are measured from."""
    truth: Tensor
    """(C, 3) the pixels' true points in the submap frame."""
    projected: Tensor
    """(C, 2) the points' true pixels."""
    config: ModelConfig

    @property
    def pixel_features(self) -> Tensor:
        """(C, D) L2-normalised, and `point_features` (C, D)."""
        return self.image.fine.index_select(0, self.pixels)

    @property
    def point_features(self) -> Tensor:
        return self.submap.fine.index_select(0, self.points)


def drawn_pairs(
    image: ImageFeatures,
    submap: SubmapFeatures,
    positions: Tensor,
    pair: Pair,
    drawn: tuple[Tensor, Tensor],
    config: ModelConfig,
) -> DrawnPairs:
    """`drawn` are rows (C,) of fine pixels and of points, on the CPU like the ground truth."""
    pixels, points = drawn
    truth = true_points(pair.targets, pair.camera_from_cloud, pixels.numpy())
    return DrawnPairs(
        image=image,
        submap=submap,
        pixels=pixels.to(positions.device),
        points=points.to(positions.device),
        positions=positions,
        truth=torch.from_numpy(truth).to(positions),
        projected=torch.from_numpy(pair.targets.point_pixels[points.numpy()]).to(positions),
        config=config,
    )


def drawn_circle_loss(drawn: DrawnPairs, settings: FineSettings) -> Tensor:
    """Circle loss among the drawn correspondences (docs/method.md R17)."""
    radius, radius_px = positive_radius(drawn.config), positive_pixels(drawn.config)
    return fine_circle_loss(
        drawn.pixel_features,
        drawn.point_features,
        torch.cdist(drawn.truth, drawn.positions[drawn.points]),
        torch.cdist(drawn.image.pixels[drawn.pixels], drawn.projected),
        positive=(radius, radius_px),
        negative=(4 * drawn.config.points.voxel, 1.5 * radius_px),
    )


def drawn_contrastive_loss(drawn: DrawnPairs, settings: FineSettings) -> Tensor:
    """The drawn pixels against all points, and the drawn points against all pixels."""
    image, submap, config = drawn.image, drawn.submap, drawn.config
    to_points = torch.cdist(drawn.truth, drawn.positions).square()
    to_pixels = torch.cdist(drawn.projected, image.pixels).square()
    to_pixels = to_pixels.masked_fill(~image.fine_valid, torch.inf)
    forward = soft_contrastive_loss(
        drawn.pixel_features, submap.fine, to_points, 0.5 * config.points.voxel, settings.temperature
    )
    backward = soft_contrastive_loss(
        drawn.point_features, image.fine, to_pixels, 0.7 * config.image.fine_stride, settings.temperature
    )
    return 0.5 * (forward + backward)


def fine_circle_loss(
    pixel_features: Tensor,
    point_features: Tensor,
    distances: Tensor,
    pixel_distances: Tensor,
    positive: tuple[float, float],
    negative: tuple[float, float],
) -> Tensor:
    """Circle loss on the squared feature distances of C sampled correspondences (docs/method.md R17).

    Args:
        pixel_features, point_features: (C, D) L2-normalised.
        distances: (C, C) metres between the pixels' true points and the points.
        pixel_distances: (C, C) pixels between the pixels and the projected points.
        positive: an entry is positive if it is below both limits (metres, pixels).
        negative: an entry is negative if it is above either limit.
    """
    squared = (2 - 2 * pixel_features @ point_features.t()).clamp(min=0)
    positives = (distances < positive[0]) & (pixel_distances < positive[1])
    negatives = (distances > negative[0]) | (pixel_distances > negative[1])
    return circle_loss(squared, positives, negatives, SCALE)


def soft_contrastive_loss(
    queries: Tensor, keys: Tensor, squared_distances: Tensor, sigma: float, temperature: float
) -> Tensor:
    """Cross-entropy of Q queries' similarities to all K keys, with a Gaussian around the truth as the target.

    In the circle loss, only the sampled correspondences are negatives. Here, every other point (pixel) of the
    pair is a negative, as in matching. The soft target lets neighbours share the peak.

    Args:
        queries, keys: (Q, D), (K, D) L2-normalised features.
        squared_distances: (Q, K) squared distance from each query's true position to each key; inf to ignore.
        sigma: deviation of the target, in the unit of the distances.
        temperature: temperature of the similarities.
    """
    logits = (queries @ keys.t()) / temperature
    target = torch.softmax(-0.5 * squared_distances / sigma**2, dim=1)
    return F.cross_entropy(logits, target)
