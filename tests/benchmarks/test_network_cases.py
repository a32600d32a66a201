from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from diff2i2p_core.benchmarks import network
from diff2i2p_core.benchmarks.measure import measure
from diff2i2p_core.benchmarks.pairs import wall_cloud, wall_pair
from diff2i2p_core.geometry.voxels import voxel_keys
from diff2i2p_core.models.config import ModelConfig, lite_config
from diff2i2p_core.weights.checkpoint import read_config


@pytest.fixture(params=["mono", "rgbd"])
def tiny(request: pytest.FixtureRequest, tiny_weights: Path) -> ModelConfig:
    rgbd = request.param == "rgbd"
    return read_config(tiny_weights)[0].model_copy(update={"mode": request.param, "tuning": rgbd})


def test_every_case_runs_on_a_tiny_network(tiny: ModelConfig) -> None:
    for case in network.cases_of(tiny, points=600):
        timing = measure(case, runs=2, warm_up=0)
        assert timing.runs == 2 and timing.median_ms > 0, case.name


def test_cases_of_the_real_networks_travel_to_processes_of_their_own() -> None:
    cases = [case for case in network.cases() if ": " in case.name]
    assert all(case.apart and pickle.loads(pickle.dumps(case)).name == case.name for case in cases)
    step = next(case for case in cases if case.name == "full: training step")
    assert (step.aim_ms, step.released_ms, step.aim_mb) == (25_000, 46_700, 4096)
    assert step.most_runs == 3
    assert [case.name for case in cases if case.needs_gpu] == [
        "full: training step, batch of 4",
        "full: training step, batch of 4, bfloat16",
    ]


def test_the_pose_of_half_wrong_matches_is_found() -> None:
    estimate = network.pose("cpu")()
    assert estimate.num_inliers > 450


def test_wall_is_a_cloud_of_the_asked_size_and_spacing_in_view_of_the_image() -> None:
    cloud = wall_cloud(3000, 0.05)
    assert cloud.shape == (3000, 3)
    assert len(np.unique(voxel_keys(cloud, 0.05))) == 3000
    pair = wall_pair(lite_config(), 3000)
    assert pair.targets.overlap > 0.5
    assert len(pair.features) == 3000
