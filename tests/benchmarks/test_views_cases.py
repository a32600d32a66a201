"""The cases of rendered views run, and do the work that they name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from diff2i2p_core.benchmarks import views
from diff2i2p_core.benchmarks.measure import measure
from diff2i2p_core.benchmarks.network import pose
from diff2i2p_core.geometry.pnp import PoseEstimate
from diff2i2p_core.localization.settings import ViewSettings


def test_every_case_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "POINTS", 2000)
    monkeypatch.setattr(views, "VIEWS", (3, 200))
    names = [measure(replace(case, apart=False), runs=2, warm_up=0).name for case in views.cases()]
    assert names[:2] == ["view of 2k points, 320x240", "view of 2k points, 480x360"]
    assert names[6:10] == [
        "describe a stored view",
        "retrieve among 3 views",
        "retrieve among 200 views",
        "match with a view",
    ]
    assert names[-2:] == ["PnP by opencv", "verify a pose with 500 inliers"]


def test_the_work_is_that_of_a_full_view() -> None:
    view = views.view_work(320, 240, "cpu")()
    assert np.mean(view.depth > 0) > 0.8
    assert len(views._features(640, 480, "cpu")().pixels) == 2048
    assert isinstance(pose("cpu", solver="opencv")(), PoseEstimate)
    assert len(views.description_work("cpu")()) > 100
    assert len(views._match("cpu")()[0]) == 1800
    assert views._verification("cpu")().localized


@pytest.mark.parametrize("count", [100, 1500])
def test_retrieval_looks_closely_at_the_most_similar_views(count: int) -> None:
    order = views._retrieval(count, "cpu")()
    assert len(order) == len(set(order)) == min(count, ViewSettings().compared) and max(order) < count
