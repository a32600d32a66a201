from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from diff2i2p_core.ops import mutual
from diff2i2p_core.ops.mutual import mutual_counts, mutual_matches, mutual_nearest, mutual_top_k


def patches(
    pairs: int = 5, rows: int = 13, columns: int = 9, width: int = 8
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows (Q, I) and columns (Q, J), a third of them padding, of random unit features."""
    generator = torch.Generator().manual_seed(0)
    row_features, column_features = (
        torch.nn.functional.normalize(torch.randn(n, width, generator=generator), dim=1) for n in (70, 40)
    )
    i = torch.stack([torch.randperm(70, generator=generator)[:rows] for _ in range(pairs)])
    j = torch.stack([torch.randperm(40, generator=generator)[:columns] for _ in range(pairs)])
    j[torch.rand(j.shape, generator=generator) < 0.3] = 40
    return i, j, row_features, column_features


def brute_force(
    rows: Tensor, columns: Tensor, a: Tensor, b: Tensor, k: int, least: float
) -> list[tuple[int, int]]:
    found = []
    b = torch.cat([b, torch.zeros(1, b.shape[1])])
    for patch, others in zip(rows.tolist(), columns.tolist(), strict=True):
        similarity = (a[patch] @ b[others].T).numpy()
        for i, j in np.ndindex(similarity.shape):
            exceed = max(
                (similarity[i] > similarity[i, j]).sum(), (similarity[:, j] > similarity[i, j]).sum()
            )
            if exceed < k and similarity[i, j] > least and others[j] < len(b) - 1:
                found.append((patch[i], others[j]))
    return sorted(found)


def test_mutual_top_k_against_brute_force() -> None:
    similarity = torch.rand(2, 7, 9, generator=torch.Generator().manual_seed(0))
    for k in (1, 3):
        mask = mutual_top_k(similarity, k)
        for b, i, j in np.ndindex(2, 7, 9):
            row = (similarity[b, i] > similarity[b, i, j]).sum() < k
            column = (similarity[b, :, j] > similarity[b, i, j]).sum() < k
            assert mask[b, i, j] == (row and column)


@pytest.mark.parametrize("k", [1, 2, 20])
@pytest.mark.parametrize("least", [-1.0, 0.3])
def test_matches_against_brute_force(monkeypatch: pytest.MonkeyPatch, k: int, least: float) -> None:
    example = patches()
    expected = brute_force(*example, k=k, least=least)
    assert len(expected) > 10
    for at_once in (1, 250, 2**20):  # one pair of patches, two, all
        monkeypatch.setattr(mutual, "CACHED_SIMILARITIES", at_once)
        found = mutual_matches(*example, k=k, least=least)
        assert sorted(zip(*(f.tolist() for f in found), strict=True)) == expected


def test_half_precision_around_it_does_not_round_similarities() -> None:
    example = patches()
    plain = mutual_matches(*example, k=1, least=0.0)
    with torch.autocast("cpu", torch.bfloat16):
        half = mutual_matches(*example, k=1, least=0.0)
    assert all(map(torch.equal, plain, half))


def test_features_may_lie_channel_by_channel() -> None:
    rows, columns, a, b = patches()
    found = mutual_matches(rows, columns, a.t().contiguous().t(), b, k=1, least=0.0)
    assert all(map(torch.equal, found, mutual_matches(rows, columns, a, b, k=1, least=0.0)))


def test_no_pairs_no_matches() -> None:
    rows, columns, a, b = patches()
    found = mutual_matches(rows[:0], columns[:0], a, b, k=1, least=0.0)
    assert [len(f) for f in found] == [0, 0]


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_nearest_against_brute_force_in_blocks_of_any_size(
    monkeypatch: pytest.MonkeyPatch, kind: torch.dtype
) -> None:
    _, _, a, b = patches()
    a, b = a.to(kind), b.to(kind)
    similarity = a @ b.T
    expected = [
        (i, int(similarity[i].argmax()))
        for i in range(len(a))
        if similarity[i].max() > 0.5 and similarity[:, similarity[i].argmax()].argmax() == i
    ]
    assert len(expected) > 10
    for at_once in (1, 300, 2**20):  # one row, seven, all
        monkeypatch.setattr(mutual, "CACHED_SIMILARITIES", at_once)
        rows, columns, likeness = mutual_nearest(a, b, 0.5)
        assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == expected
        torch.testing.assert_close(likeness, similarity[rows, columns])
    best = mutual._best(a, b)  # as on a GPU
    for ours, theirs in zip(mutual._best_by_blocks(a, b), best, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_nothing_has_no_nearest() -> None:
    _, _, a, b = patches()
    assert all(len(part) == 0 for part in (*mutual_nearest(a[:0], b, 0.5), *mutual_nearest(a, b[:0], 0.5)))


def test_matches_with_many_are_counted_at_once() -> None:
    """As a GPU does it; the views have different numbers of features, one has none."""
    generator = torch.Generator().manual_seed(0)

    def units(count: int) -> Tensor:
        return torch.nn.functional.normalize(torch.randn(count, 8, generator=generator), dim=1)

    image, others = units(40), [units(count).half() for count in (30, 1, 0, 25)]
    others.append(image[10:30].half())
    expected = [len(mutual_nearest(image, other.float(), 0.6)[0]) for other in others]
    assert expected[0] > 3 and expected[2] == 0 and expected[4] == 20
    assert mutual_counts(image, others, 0.6) == expected
    assert mutual._counts_at_once(image, others, 0.6) == expected
    assert mutual._counts_at_once(image[:0], others, 0.6) == [0] * 5
    assert mutual._counts_at_once(image, others[2:3], 0.6) == [0]
