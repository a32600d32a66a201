"""`eval` on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from dask_cluster import started_cluster

from diff2i2p_core.evaluation.benchmark import pair_json
from diff2i2p_core.evaluation.cache import registration_path, write_registration
from diff2i2p_core.evaluation.protocol import PROTOCOLS
from diff2i2p_core.evaluation.registration import Registration
from diff2i2p_core.evaluation.result import evaluate_folder

Made = Callable[..., Registration]


@pytest.mark.slow
def test_two_workers_of_which_one_is_killed_give_the_numbers_of_one_process(
    made: Made, tmp_path: Path
) -> None:
    for number in range(8):
        name = f"office/{number}_1"
        write_registration(
            made(inliers=80 - 5 * number, name=name, seed=number), registration_path(tmp_path, name)
        )
    protocol = PROTOCOLS["7scenes"]

    one = evaluate_folder(tmp_path, protocol, 1)[0]
    (tmp_path / "cluster").mkdir()
    with started_cluster(tmp_path / "cluster") as cluster:

        def kill(done: int, total: int) -> None:
            if done == 2:
                cluster.workers[0].kill()

        two = evaluate_folder(tmp_path, protocol, 1, kill, cluster=cluster.address)[0]
        assert cluster.workers[0].wait() and cluster.workers[1].poll() is None
    assert [pair_json(m) for m in one.metrics] == [pair_json(m) for m in two.metrics]
    assert one.summary == two.summary and len({m.inlier_ratio for m in one.metrics}) > 5
