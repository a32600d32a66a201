"""Coarse-to-fine matching (2D3D-MATR; docs/method.md R13, R14)."""

from __future__ import annotations

import torch
from torch import Tensor

from diff2i2p_core.models.config import MatchingConfig
from diff2i2p_core.models.features import FusedNodes, ImageFeatures, SubmapFeatures
from diff2i2p_core.models.patches import image_patches, level_offsets
from diff2i2p_core.ops.mutual import mutual_matches, mutual_top_k


def feature_distance(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances (N, M) of L2-normalised features (N, D), (M, D)."""
    return (2 - 2 * (a @ b.t())).clamp(min=0).add(1e-8).sqrt()


def match_nodes(
    nodes: FusedNodes, image_valid: Tensor, point_valid: Tensor, config: MatchingConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of nodes (Q,), (Q,) and their feature distances (Q,), best first."""
    rows = image_valid.nonzero().squeeze(1)
    columns = point_valid.nonzero().squeeze(1)
    if not len(rows) or not len(columns):
        return rows[:0], columns[:0], nodes.image.new_zeros(0)
    distance = feature_distance(nodes.image[rows], nodes.points[columns])
    i, j = mutual_top_k(-distance, config.coarse_top_k).nonzero(as_tuple=True)
    distances, order = distance[i, j].sort()
    near = int((distances <= config.coarse_distance).sum())
    count = max(near, min(config.coarse_pairs, len(distances)))
    if config.coarse_limit is not None:
        count = min(count, config.coarse_limit)
    order = order[:count]
    return rows[i[order]], columns[j[order]], distances[:count]


def match_patches(
    image: ImageFeatures,
    submap: SubmapFeatures,
    image_nodes: Tensor,
    point_nodes: Tensor,
    config: MatchingConfig,
) -> tuple[Tensor, Tensor]:
    """Mutually best pixels and points within each pair of nodes.

    Returns rows of the image's fine features and of the submap's points, each pair once, sorted.
    """
    offsets = level_offsets(image.grid)
    levels = image_patches(image.grid, image.fine_size, image.patch_step, image.fine.device)
    least = 2 * config.fine_similarity - 1  # of the cosine
    matches = []
    for patches, first, end in zip(levels, offsets, offsets[1:], strict=False):
        of_level = ((image_nodes >= first) & (image_nodes < end)).nonzero().squeeze(1)
        if not len(of_level):
            continue
        rows = patches[image_nodes[of_level] - first]
        columns = submap.patches[point_nodes[of_level]]
        matches.append(mutual_matches(rows, columns, image.fine, submap.fine, config.fine_top_k, least))
    if not matches:
        empty = image_nodes.new_zeros(0)
        return empty, empty
    pixels, points = (torch.cat(parts) for parts in zip(*matches, strict=True))
    total = len(submap.points)
    keys = torch.unique((pixels * total + points)[image.fine_valid[pixels]])
    return keys // total, keys % total
