"""Mutual best matches: of a matrix of similarities, and between many pairs of patches."""

from __future__ import annotations

import torch
from torch import Tensor

from diff2i2p_core.ops.backend import use_triton

CACHED_SIMILARITIES = 2**18
"""As many as a CPU core keeps in its cache while it looks for the best of them."""
MOST_SIMILARITIES = 2**26
"""As many as a GPU computes at once."""


def mutual_top_k(similarity: Tensor, k: int) -> Tensor:
    """Mask (..., N, M) of entries that are among the `k` largest of both their row and their column."""
    rows = torch.zeros_like(similarity, dtype=torch.bool)
    columns = torch.zeros_like(similarity, dtype=torch.bool)
    rows.scatter_(-1, similarity.topk(min(k, similarity.shape[-1]), dim=-1).indices, True)
    columns.scatter_(-2, similarity.topk(min(k, similarity.shape[-2]), dim=-2).indices, True)
    return rows & columns


@torch.no_grad()
def mutual_nearest(a: Tensor, b: Tensor, least: float) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (K,) of `a` (N, C), rows (K,) of `b` (M, C), and the dot products (K,) of those that are each
    other's most similar and whose dot product exceeds `least`."""
    if not len(a) or not len(b):
        nothing = torch.zeros(0, dtype=torch.long, device=a.device)
        return nothing, nothing, a.new_zeros(0)
    similarity = a @ b.T
    best, columns = similarity.max(dim=1)
    rows = similarity.argmax(dim=0)
    own = torch.arange(len(a), device=a.device)
    kept = (rows[columns] == own) & (best > least)
    return own[kept], columns[kept], best[kept]


@torch.no_grad()
def mutual_matches(
    rows: Tensor, columns: Tensor, row_features: Tensor, column_features: Tensor, k: int, least: float
) -> tuple[Tensor, Tensor]:
    """Mutual top-`k` matches within each pair of patches whose similarity, a dot product, exceeds `least`.

    rows (Q, I) and columns (Q, J) list the members of the patches by their places in the features (P, C)
    and (N, C). Column N stands for none: its similarity is 0, and it matches nothing. Returns places (M,)
    and (M,); a match that several pairs of patches find comes as often. A row takes the first of equally
    similar columns.
    """
    # Rounded to half precision, many would be equally similar.
    with torch.autocast(rows.device.type, enabled=False):
        if use_triton(row_features):
            from diff2i2p_core.ops.kernels.mutual import best_in_patches

            best = best_in_patches(rows, columns, row_features, column_features, k)
            return _mutual(rows, columns, *best, least, len(column_features))
        at_once = CACHED_SIMILARITIES if rows.device.type == "cpu" else MOST_SIMILARITIES
        pairs = max(1, at_once // max(1, rows.shape[1] * columns.shape[1]))
        found = []
        for i, j in zip(rows.split(pairs), columns.split(pairs), strict=True):
            best = _best_in_patches(i, j, row_features, column_features, k)
            found.append(_mutual(i, j, *best, least, len(column_features)))
    return torch.cat([i for i, _ in found]), torch.cat([j for _, j in found])


def _best_in_patches(
    rows: Tensor, columns: Tensor, row_features: Tensor, column_features: Tensor, k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row the `k` best similarities and their columns' numbers within the patch, (Q, I, k) each, and
    of each column the k-th best similarity (Q, J); k no larger than the patches."""
    of_columns = _members(column_features, columns.clamp(max=len(column_features) - 1))
    of_columns.masked_fill_((columns == len(column_features)).unsqueeze(2), 0)
    similarity = torch.bmm(_members(row_features, rows), of_columns.transpose(1, 2))
    if k == 1:
        return *similarity.max(2, keepdim=True), similarity.amax(1)
    best, numbers = similarity.topk(min(k, similarity.shape[2]), dim=2)
    return best, numbers, similarity.topk(min(k, similarity.shape[1]), dim=1).values[:, -1]


def _members(features: Tensor, places: Tensor) -> Tensor:
    """Features (Q, I, C) of places (Q, I), read along the way they lie in memory."""
    width, flat = features.shape[1], places.reshape(-1)
    if features.stride(0) == 1:  # as a convolution leaves them
        return features.t().index_select(1, flat).view(width, *places.shape).permute(1, 2, 0)
    return features.index_select(0, flat).view(*places.shape, width)


def _mutual(
    rows: Tensor,
    columns: Tensor,
    best: Tensor,
    numbers: Tensor,
    least_of_column: Tensor,
    least: float,
    total: int,
) -> tuple[Tensor, Tensor]:
    found = []
    for value, number in zip(best.unbind(2), numbers.unbind(2), strict=True):
        column = columns.gather(1, number)
        mutual = (value > least) & (value >= least_of_column.gather(1, number)) & (column < total)
        q, i = mutual.nonzero(as_tuple=True)
        found.append((rows[q, i], column[q, i]))
    return torch.cat([i for i, _ in found]), torch.cat([j for _, j in found])
