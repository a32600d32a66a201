"""Work on a Dask cluster gives what one process gives, also if a worker is killed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dask_cluster import Cluster, started_cluster
from raw_layouts import recording, write_posed_folder
from safetensors import safe_open

from diff2i2p_core.datasets.prepare import prepare
from diff2i2p_core.datasets.recording_frames import folders
from diff2i2p_core.datasets.settings import PreparationSettings
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.ply import write_ply
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.mapping import parts
from diff2i2p_core.mapping.build_file import build_map
from diff2i2p_core.mapping.viewpoints import looking
from diff2i2p_core.models.xfeat import XFeat
from diff2i2p_core.parallel import ClusterError, WorkerLost, workers

pytestmark = pytest.mark.slow
VIEWS = [looking(np.array([2, y, 1.2]), yaw, 0.1) for y in (1.0, 2.5) for yaw in np.arange(0, 6.2, 0.6)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with started_cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster for a single test, which may kill parts of it."""
    (tmp_path / "fragile").mkdir()
    with started_cluster(tmp_path / "fragile") as started:
        yield started


@pytest.fixture
def build(
    tmp_path: Path,
    room_cloud: PointCloud,
    tiny_weights: Path,
    xfeat_network: XFeat,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Any]:
    """Arguments of a build with both kinds of features in some ten parts each."""
    monkeypatch.setattr(parts, "PART_VIEWS", 2)
    monkeypatch.chdir(tmp_path)  # the workers are elsewhere
    write_ply(tmp_path / "room.ply", room_cloud)
    write_trajectory(tmp_path / "views.tum", range(len(VIEWS)), VIEWS)
    return {
        "source": "room.ply",
        "weights": os.path.relpath(tiny_weights),
        "trajectory": "views.tum",
    }


def content(path: Path) -> dict[str, np.ndarray]:
    with safe_open(path, "numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def assert_same(path: Path, other: Path) -> None:
    one, two = content(path), content(other)
    assert one.keys() == two.keys() and len(one) > 5
    for name in one:
        assert one[name].tobytes() == two[name].tobytes(), name


def test_two_workers_build_the_same_map_as_one_process(
    build: dict[str, Any], cluster: Cluster, tmp_path: Path
) -> None:
    build_map(out="one.map", **build)
    told: list[tuple[str, int, int | None]] = []
    build_map(out="two.map", cluster=cluster.address, progress=lambda *step: told.append(step), **build)
    assert_same(tmp_path / "one.map", tmp_path / "two.map")
    for what in ("encoding submaps", "rendering views"):
        steps = [step for step in told if step[0] == what]
        assert len(steps) > 5 and steps[-1][1] == steps[-1][2]


def test_a_killed_worker_changes_nothing(build: dict[str, Any], fragile: Cluster, tmp_path: Path) -> None:
    def progress(what: str, done: int, total: int | None) -> None:
        if what == "rendering views" and total is not None and done < total / 2:
            fragile.workers[0].kill()

    build_map(out="two.map", cluster=fragile.address, progress=progress, **build)
    assert fragile.workers[0].wait() and fragile.workers[1].poll() is None
    build_map(out="one.map", **build)
    assert_same(tmp_path / "one.map", tmp_path / "two.map")


def test_an_interrupted_build_resumes_on_a_cluster(
    build: dict[str, Any], cluster: Cluster, tmp_path: Path
) -> None:
    def stop(what: str, done: int, total: int | None) -> None:
        if what == "rendering views":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_map(out="two.map", cluster=cluster.address, progress=stop, **build)
    with pytest.raises(InputError, match="no scheduler answers"):  # which discards nothing
        build_map(out="two.map", cluster="tcp://127.0.0.1:1", **build)
    notes: list[str] = []
    build_map(out="two.map", cluster=cluster.address, note=notes.append, **build)
    assert len(notes) == 1 and "resuming" in notes[0]
    build_map(out="one.map", **build)
    assert_same(tmp_path / "one.map", tmp_path / "two.map")
    assert not list(tmp_path.glob(".*.build"))


def test_a_stopped_cluster_is_named_and_the_build_can_be_resumed(
    build: dict[str, Any], fragile: Cluster, tmp_path: Path
) -> None:
    def progress(what: str, done: int, total: int | None) -> None:
        if what == "rendering views":
            for process in (*fragile.workers, fragile.scheduler):
                process.kill()

    start = time.monotonic()
    with pytest.raises(InputError, match=r"two\.map: the cluster tcp:.* has stopped; run the same again"):
        build_map(out="two.map", cluster=fragile.address, progress=progress, **build)
    assert time.monotonic() - start < 120
    notes: list[str] = []
    build_map(out="two.map", note=notes.append, **build)
    assert "resuming" in notes[0]


def test_prepare_writes_the_same_set(fragile: Cluster, tmp_path: Path) -> None:
    source = write_posed_folder(tmp_path / "raw" / "hall", recording(60))
    settings = PreparationSettings(window=5, voxel=0.05, gap=5)

    def kill(what: str, done: int, total: int | None) -> None:
        if what == "fusing clouds" and done == 2:
            fragile.workers[0].kill()

    prepare("frames", lambda work: folders(source), tmp_path / "one", settings)
    options: dict[str, Any] = {"cluster": fragile.address, "progress": kill}
    prepare("frames", lambda work: folders(source), tmp_path / "two", settings, **options)
    assert fragile.workers[0].poll() is not None
    checksums = [(tmp_path / out / "checksums.sha256").read_text() for out in ("one", "two")]
    assert checksums[0] == checksums[1] and checksums[0].count("\n") > 20


def test_a_cluster_that_cannot_help_is_named(fragile: Cluster, tmp_path: Path) -> None:
    def use(shared: Path | None = None) -> None:
        with workers(cluster=fragile.address, shared=shared):
            pass

    with pytest.raises(ClusterError, match=r"does not see .*/missing; give a folder that all workers share"):
        use(tmp_path / "missing")
    for worker in fragile.workers:
        worker.kill()
        worker.wait()
    time.sleep(1)  # until the scheduler knows it
    with pytest.raises(ClusterError, match="has no workers; start some with `dask worker"):
        use()


def test_a_task_that_ends_its_workers_is_given_up(tmp_path: Path) -> None:
    with (
        started_cluster(tmp_path, workers=4) as cluster,
        workers(cluster=cluster.address) as run,
        pytest.raises(WorkerLost, match="several workers"),
    ):
        list(run(os._exit, [9]))
