"""The cases of rendered views run, and do the work that they name."""

from __future__ import annotations

import numpy as np
import pytest

from diff2i2p_core.benchmarks import views
from diff2i2p_core.benchmarks.measure import measure
from diff2i2p_core.benchmarks.network import pose
from diff2i2p_core.geometry.pnp import PoseEstimate


def test_every_case_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "POINTS", 2000)
    names = [measure(case, runs=2, warm_up=0).name for case in views.cases()]
    assert names[:2] == ["view of 2k points, 320x240", "view of 2k points, 480x360"]
    assert names[-1] == "PnP by opencv"


def test_the_work_is_that_of_a_full_view() -> None:
    view = views._view(320, 240, "cpu")()
    assert np.mean(view.depth > 0) > 0.8
    assert len(views._features(640, 480, "cpu")().pixels) == 2048
    assert isinstance(pose("cpu", solver="opencv")(), PoseEstimate)
