"""Frames of a benchmark: how far depth counts, and cameras of single images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_benchmark import write_pair

from diff2i2p_core.models.config import lite_config
from diff2i2p_core.pairs.benchmark_pairs import BenchmarkPairs, BenchmarkSettings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images of walls at 1.5 and 1.8 m."""
    (tmp_path / "metadata").mkdir()
    records = [json.dumps(write_pair(tmp_path, "attic", number)) for number in (0, 1)]
    (tmp_path / "metadata" / "test-full.jsonl").write_text("\n".join(records))
    return tmp_path


def pairs(root: Path, max_depth: float | None = None) -> BenchmarkPairs:
    image = lite_config("geometry").image.model_copy(update={"height": 48})
    config = lite_config("geometry").model_copy(update={"image": image})
    return BenchmarkPairs(BenchmarkSettings(root=root, max_depth=max_depth), config, "test")


def test_depth_counts_up_to_the_benchmarks_limit(root: Path) -> None:
    depths = [pairs(root, limit)[0].targets.pixel_points[:, 2] for limit in (None, 1.6)]
    known = [set(np.unique(depth).tolist()) - {0.0} for depth in depths]  # padding has no depth
    assert known == [{1.5, float(np.float32(1.8))}, {1.5}]


def test_an_image_may_have_its_own_camera(root: Path) -> None:
    own = root / "data" / "attic" / "seq-01" / "color_001.intrinsics.txt"
    np.savetxt(own, [[66, 0, 30], [0, 66, 22], [0, 0, 1]])
    cameras = [pairs(root)[number].camera for number in (0, 1)]
    assert [(camera.fx, camera.cx) for camera in cameras] == [(60, 32), (66, 30)]
