"""Fine losses on pixel and point features: the circle loss of the paper, and a dense contrastive one."""

from __future__ import annotations

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


def fine_loss(
    image: ImageFeatures,
    submap: SubmapFeatures,
    places: Tensor,
    pair: Pair,
    drawn: tuple[Tensor, Tensor],
    config: ModelConfig,
    settings: FineSettings,
) -> Tensor:
    """The configured loss at the true correspondences `drawn`, zero without any.

    Args:
        places: (N, 3) the submap's points where distances are measured from.
        drawn: rows (C,) of fine pixels and of points, on the CPU as the truth is.
    """
    if not len(drawn[0]):
        return (image.fine.sum() + submap.fine.sum()) * 0
    targets, voxel = pair.targets, config.points.voxel
    truth = torch.from_numpy(true_points(targets, pair.camera_from_cloud, drawn[0].numpy())).to(places)
    projected = torch.from_numpy(targets.point_pixels[drawn[1].numpy()]).to(places)
    pixels, points = (rows.to(places.device) for rows in drawn)
    pixel_features = image.fine.index_select(0, pixels)
    point_features = submap.fine.index_select(0, points)
    if settings.kind == "circle":
        radius, radius_px = positive_radius(config), positive_pixels(config)
        return fine_circle_loss(
            pixel_features,
            point_features,
            torch.cdist(truth, places[points]),
            torch.cdist(image.pixels[pixels], projected),
            positive=(radius, radius_px),
            negative=(4 * voxel, 1.5 * radius_px),
        )
    to_points = torch.cdist(truth, places).square()
    to_pixels = torch.cdist(projected, image.pixels).square()
    to_pixels = to_pixels.masked_fill(~image.fine_valid, torch.inf)
    forward = soft_contrastive_loss(pixel_features, submap.fine, to_points, 0.5 * voxel, settings.temperature)
    backward = soft_contrastive_loss(
        point_features, image.fine, to_pixels, 0.7 * config.image.fine_stride, settings.temperature
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
    """Circle loss on the squared feature distances of C sampled correspondences (METHOD 3).

    Args:
        pixel_features, point_features: (C, D) L2-normalised.
        distances: (C, C) metres between the pixels' true points and the points.
        pixel_distances: (C, C) pixels between the pixels and the projected points.
        positive: below both (metres, pixels) an entry is positive.
        negative: above either it is negative.
    """
    squared = (2 - 2 * pixel_features @ point_features.t()).clamp(min=0)
    positives = (distances < positive[0]) & (pixel_distances < positive[1])
    negatives = (distances > negative[0]) | (pixel_distances > negative[1])
    return circle_loss(squared, positives, negatives, SCALE)


def soft_contrastive_loss(
    queries: Tensor, keys: Tensor, squared_distances: Tensor, sigma: float, temperature: float
) -> Tensor:
    """Cross-entropy of Q queries' similarities to all K keys against a Gaussian around the truth.

    The circle loss sees only the sampled correspondences as negatives; here every other point (pixel) of
    the pair is one, which is what matching meets. A soft target lets neighbours share the peak.

    Args:
        queries, keys: (Q, D), (K, D) L2-normalised features.
        squared_distances: (Q, K) squared distance from each query's true place to each key; inf to ignore.
        sigma: deviation of the target, in the unit of the distances.
        temperature: of the similarities.
    """
    logits = (queries @ keys.t()) / temperature
    target = torch.softmax(-0.5 * squared_distances / sigma**2, dim=1)
    return F.cross_entropy(logits, target)
