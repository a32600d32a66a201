"""Coarse-to-fine matching (2D3D-MATR; METHOD 2.8, 2.9)."""

from __future__ import annotations

import torch
from torch import Tensor

from diff2i2p_core.models.config import MatchingConfig
from diff2i2p_core.models.features import FusedNodes, ImageFeatures, SubmapFeatures
from diff2i2p_core.models.patches import image_patches, level_offsets


def feature_distance(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances (N, M) of L2-normalised features (N, D), (M, D)."""
    return (2 - 2 * (a @ b.t())).clamp(min=0).add(1e-8).sqrt()


def mutual_top_k(similarity: Tensor, k: int) -> Tensor:
    """Mask (..., N, M) of entries that are among the `k` largest of both their row and their column."""
    if k == 1:
        best = similarity == similarity.amax(-1, keepdim=True)
        return best & (similarity == similarity.amax(-2, keepdim=True))
    rows = torch.zeros_like(similarity, dtype=torch.bool)
    columns = torch.zeros_like(similarity, dtype=torch.bool)
    rows.scatter_(-1, similarity.topk(min(k, similarity.shape[-1]), dim=-1).indices, True)
    columns.scatter_(-2, similarity.topk(min(k, similarity.shape[-2]), dim=-2).indices, True)
    return rows & columns


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
    found, order = distance[i, j].sort()
    near = int((found <= config.coarse_distance).sum())
    count = max(near, min(config.coarse_pairs, len(found)))
    if config.coarse_limit is not None:
        count = min(count, config.coarse_limit)
    order = order[:count]
    return rows[i[order]], columns[j[order]], found[:count]


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
    total = len(submap.points)
    offsets = level_offsets(image.grid)
    found = []
    padded = torch.cat([submap.fine, submap.fine.new_zeros(1, submap.fine.shape[1])])
    for level, patches in enumerate(image_patches(image.grid, image.fine_size, image.patch_step)):
        of_level = (image_nodes >= offsets[level]) & (image_nodes < offsets[level + 1])
        if not bool(of_level.any()):
            continue
        pixels = patches.to(image_nodes.device)[image_nodes[of_level] - offsets[level]]
        points = submap.patches[point_nodes[of_level]]
        image_features = image.fine.index_select(0, pixels.reshape(-1)).view(*pixels.shape, -1)
        point_features = padded.index_select(0, points.reshape(-1)).view(*points.shape, -1)
        similarity = 0.5 * (torch.bmm(image_features, point_features.transpose(1, 2)) + 1)
        mask = mutual_top_k(similarity, config.fine_top_k) & (similarity > config.fine_similarity)
        mask &= (points < total).unsqueeze(1) & image.fine_valid[pixels].unsqueeze(2)
        pair, row, column = mask.nonzero(as_tuple=True)
        found.append(pixels[pair, row] * total + points[pair, column])
    if not found:
        empty = image_nodes.new_zeros(0)
        return empty, empty
    keys = torch.unique(torch.cat(found))
    return keys // total, keys % total
