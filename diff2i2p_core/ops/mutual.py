"""Mutual best matches: in a matrix of similarities, and within many pairs of patches."""

from __future__ import annotations

import torch
from torch import Tensor

from diff2i2p_core.ops.backend import use_triton

CACHED_SIMILARITIES = 2**18
"""As many as fit into a CPU core's cache while it searches for the best."""
MOST_SIMILARITIES = 2**26
"""As many as a GPU computes at once."""


def mutual_top_k(similarity: Tensor, k: int) -> Tensor:
    """Mask (..., N, M) of the entries that are among the `k` largest of their row and of their column."""
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
    columns = _best_columns(similarity)
    best = similarity.gather(1, columns[:, None])[:, 0]
    rows = ((best > least) & (similarity.amax(dim=0)[columns] == best)).nonzero()[:, 0]
    return rows, columns[rows], best[rows]


def _best_columns(similarity: Tensor) -> Tensor:
    """(N,) the column of the largest value of each row (N, M)."""
    if similarity.is_cuda:
        return similarity.argmax(dim=1)
    return torch.from_numpy(similarity.numpy().argmax(axis=1))  # torch takes ten times as long


@torch.no_grad()
def mutual_matches(
    rows: Tensor, columns: Tensor, row_features: Tensor, column_features: Tensor, k: int, least: float
) -> tuple[Tensor, Tensor]:
    """Mutual top-`k` matches within each pair of patches whose similarity, a dot product, exceeds `least`.

    rows (Q, I) and columns (Q, J) list the members of the patches by their indices into the features (P, C)
    and (N, C). Column N is padding: its similarity is 0, and it matches nothing. Returns indices (M,) and
    (M,). A match found in several pairs of patches is repeated. Among equally similar columns, a row takes
    the first.
    """
    # In half precision, many would be equally similar.
    with torch.autocast(rows.device.type, enabled=False):
        if use_triton(row_features):
            from diff2i2p_core.ops.kernels.mutual import best_in_patches

            best = best_in_patches(rows, columns, row_features, column_features, k)
            return _mutual(rows, columns, *best, least, len(column_features))
        at_once = CACHED_SIMILARITIES if rows.device.type == "cpu" else MOST_SIMILARITIES
        pairs = max(1, at_once // max(1, rows.shape[1] * columns.shape[1]))
        parts = []
        for i, j in zip(rows.split(pairs), columns.split(pairs), strict=True):
            best = _best_in_patches(i, j, row_features, column_features, k)
            parts.append(_mutual(i, j, *best, least, len(column_features)))
    return torch.cat([i for i, _ in parts]), torch.cat([j for _, j in parts])


def _best_in_patches(
    rows: Tensor, columns: Tensor, row_features: Tensor, column_features: Tensor, k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """For each row, the `k` best similarities and the indices of their columns within the patch, (Q, I, k)
    each; for each column, the k-th best similarity (Q, J). k is at most the size of the patches."""
    of_columns = _members(column_features, columns.clamp(max=len(column_features) - 1))
    of_columns.masked_fill_((columns == len(column_features)).unsqueeze(2), 0)
    similarity = torch.bmm(_members(row_features, rows), of_columns.transpose(1, 2))
    if k == 1:
        return *similarity.max(2, keepdim=True), similarity.amax(1)
    best, numbers = similarity.topk(min(k, similarity.shape[2]), dim=2)
    return best, numbers, similarity.topk(min(k, similarity.shape[1]), dim=1).values[:, -1]


def _members(features: Tensor, indices: Tensor) -> Tensor:
    """Features (Q, I, C) at indices (Q, I), read in the order of their memory layout."""
    width, flat = features.shape[1], indices.reshape(-1)
    if features.stride(0) == 1:  # the layout of a convolution's output
        return features.t().index_select(1, flat).view(width, *indices.shape).permute(1, 2, 0)
    return features.index_select(0, flat).view(*indices.shape, width)


def _mutual(
    rows: Tensor,
    columns: Tensor,
    best: Tensor,
    numbers: Tensor,
    least_of_column: Tensor,
    least: float,
    total: int,
) -> tuple[Tensor, Tensor]:
    parts = []
    for value, number in zip(best.unbind(2), numbers.unbind(2), strict=True):
        column = columns.gather(1, number)
        mutual = (value > least) & (value >= least_of_column.gather(1, number)) & (column < total)
        q, i = mutual.nonzero(as_tuple=True)
        parts.append((rows[q, i], column[q, i]))
    return torch.cat([i for i, _ in parts]), torch.cat([j for _, j in parts])
