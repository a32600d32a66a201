"""Mutual best matches: in a matrix of similarities, and within many pairs of patches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

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
    columns, row_best, column_best = _best(a, b) if a.is_cuda else _best_by_blocks(a, b)
    rows = ((row_best > least) & (column_best[columns] == row_best)).nonzero()[:, 0]
    return rows, columns[rows], row_best[rows]


def _best(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each row of `a`, the index of the most similar row of `b` and their dot product (N,) each; for each
    row of `b`, its largest dot product (M,)."""
    similarity = a @ b.T
    row_best, columns = similarity.max(dim=1)
    return columns, row_best, similarity.amax(dim=0)


def _best_by_blocks(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same on a CPU, in half the time: similarities of some rows stay in the cache, and their memory is
    used again. numpy finds the index of a maximum in a tenth of torch's time."""
    rows = max(1, CACHED_SIMILARITIES // len(b))
    others, block = b.T.contiguous(), a.new_empty(min(rows, len(a)), len(b))
    columns, row_best = np.empty(len(a), np.int64), np.empty(len(a), block.numpy().dtype)
    column_best = np.full(len(b), -np.inf, row_best.dtype)
    for first in range(0, len(a), rows):
        some = a[first : first + rows]
        part = slice(first, first + len(some))
        similarity = torch.mm(some, others, out=block[: len(some)]).numpy()
        similarity.argmax(axis=1, out=columns[part])
        row_best[part] = similarity[np.arange(len(some)), columns[part]]
        np.maximum(column_best, similarity.max(axis=0), out=column_best)
    return torch.from_numpy(columns), torch.from_numpy(row_best), torch.from_numpy(column_best)


@torch.no_grad()
def mutual_counts(a: Tensor, others: Sequence[Tensor], least: float) -> list[int]:
    """How many matches `mutual_nearest` finds between `a` (N, C) and each of the `others` (M, C).

    The others are in main memory, in any precision; `least` is not negative. For a GPU, all others are copied
    at once, and compared at once.
    """
    if a.is_cuda:
        return _counts_at_once(a, others, least)
    return [len(mutual_nearest(a, other.float(), least)[0]) for other in others]


def _counts_at_once(a: Tensor, others: Sequence[Tensor], least: float) -> list[int]:
    there = torch.cat(list(others)).to(a.device).float()  # one copy
    padded = pad_sequence(there.split([len(other) for other in others]), batch_first=True)
    similarity = a @ padded.mT  # 0 in the padding, so not more than `least`
    if not similarity.numel():
        return [0] * len(others)
    row_best, columns = similarity.max(dim=2)
    mutual = (row_best > least) & (similarity.amax(dim=1).gather(1, columns) == row_best)
    return mutual.sum(dim=1).tolist()


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
