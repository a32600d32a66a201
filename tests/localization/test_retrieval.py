"""Ranking of many submaps: some nodes first, all nodes for the best."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from diff2i2p_core.localization import retrieval
from diff2i2p_core.localization.retrieval import SubmapIndex
from diff2i2p_core.models.features import ImageFeatures, SubmapFeatures

DIM = 16
GENERATOR = torch.Generator().manual_seed(0)


def directions(count: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, DIM, generator=GENERATOR), dim=-1)


def submap(nodes: torch.Tensor, valid: torch.Tensor | None = None) -> SubmapFeatures:
    empty = torch.zeros(0, 3)
    count = len(nodes)
    return SubmapFeatures(
        points=empty,
        fine=empty,
        superpoints=torch.zeros(count, 3),
        tokens=nodes,
        nodes=nodes,
        node_valid=torch.ones(count, dtype=torch.bool) if valid is None else valid,
        patches=torch.zeros(count, 1, dtype=torch.long),
    )


def image(nodes: torch.Tensor) -> ImageFeatures:
    unused = torch.zeros(0)
    return ImageFeatures(
        fine=unused,
        fine_size=(0, 0),
        fine_valid=unused,
        pixels=unused,
        tokens=unused,
        grid=(0, 0),
        token_valid=unused,
        nodes=nodes,
        node_valid=torch.ones(len(nodes), dtype=torch.bool),
    )


@pytest.fixture
def submaps() -> list[SubmapFeatures]:
    """60 of different sizes, one of them empty of valid superpoints."""
    made = [submap(directions(5 + i % 7)) for i in range(60)]
    made[9] = replace(made[9], node_valid=torch.zeros(len(made[9].nodes), dtype=torch.bool))
    return made


def test_scores_are_the_mean_best_similarity(
    submaps: list[SubmapFeatures], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval, "_COLUMNS", 30)  # several products
    nodes = directions(50)
    scores = SubmapIndex(submaps).scores(image(nodes))
    wanted = [
        (nodes @ s.nodes.T).amax(1).mean() if s.node_valid.any() else torch.tensor(-1.0) for s in submaps
    ]
    torch.testing.assert_close(scores, torch.stack(wanted))
    assert int(scores.argmin()) == 9


def test_of_many_submaps_the_best_keep_their_exact_scores(
    submaps: list[SubmapFeatures], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = SubmapIndex(submaps)
    # an image of submap 41, and a little of 17
    nodes = torch.cat([submaps[41].nodes.repeat(40, 1), submaps[17].nodes.repeat(10, 1)])
    nodes = F.normalize(nodes + 0.2 * directions(len(nodes)), dim=-1)
    exact = index.scores(image(nodes))
    monkeypatch.setattr(retrieval, "_MANY", 20)
    scores = index.scores(image(nodes))
    assert scores.topk(3).indices.tolist() == exact.topk(3).indices.tolist()
    assert int(scores.argmax()) == 41
    best = scores > -1.5
    assert int(best.sum()) == 10
    torch.testing.assert_close(scores[best], exact[best])
    assert (scores[~best] < -1).all()
