"""Tasks in this process, in processes and in threads of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path

import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.parallel import WorkerLost, once_per_process, workers


def square(number: int) -> int:
    """A negative number raises, 0 ends the process."""
    if number < 0:
        raise InputError(f"{number} is negative")
    if number == 0:
        os._exit(9)
    return number**2


def write_pid(folder: Path) -> int:
    (folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()
    return os.getpid()


def prepared_by(folder: Path, number: int) -> tuple[int, int]:
    return number, once_per_process(partial(write_pid, folder))


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_with_the_index_of_their_task(jobs: int) -> None:
    with workers(jobs) as run:
        assert sorted(run(square, range(3, 8))) == [(0, 9), (1, 16), (2, 25), (3, 36), (4, 49)]


def test_the_first_error_is_raised_and_later_tasks_are_not_started(tmp_path: Path) -> None:
    taken = []

    def tasks() -> Iterator[int]:
        for number in (2, -1, *range(2, 200_000)):
            taken.append(number)
            yield number

    with workers(2) as run, pytest.raises(InputError, match="-1 is negative"):
        list(run(square, tasks()))
    assert len(taken) < 100_000


def test_a_killed_process_is_an_error_and_the_next_run_works() -> None:
    with workers(2) as run, pytest.raises(WorkerLost, match="was killed"):
        list(run(square, [2, 0, 3]))
    with workers(2) as run:
        assert sorted(run(square, [2, 3])) == [(0, 4), (1, 9)]


def test_processes_end_with_the_block_and_a_run_that_is_left_warns_of_nothing() -> None:
    with workers(2) as run:
        running = run(_pid, range(50))
        pid = next(running)[1]
        assert isinstance(running, Generator)
        running.close()
    assert pid != os.getpid()
    until = time.monotonic() + 10
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < until
        time.sleep(0.05)


def _pid(number: int) -> int:
    return os.getpid()


def test_each_process_prepares_once(tmp_path: Path) -> None:
    with workers(2) as run:
        pids = {pid for _, (_, pid) in run(partial(prepared_by, tmp_path), range(12))}
        assert len(list(tmp_path.iterdir())) == len(pids)
    with workers() as run:  # what an earlier block prepared is forgotten
        for _ in range(2):
            list(run(partial(prepared_by, tmp_path), range(3)))
    with workers() as run:
        list(run(partial(prepared_by, tmp_path), range(3)))
    assert len(list(tmp_path.glob(f"{os.getpid()}-*"))) == 2


def test_threads_share_this_process() -> None:
    here = set()

    def thread(number: int) -> int:
        here.add(threading.get_ident())
        time.sleep(0.05)
        return number

    with workers(2, threads=True) as run:
        assert sorted(run(thread, range(4))) == [(n, n) for n in range(4)]
    assert len(here) == 2


def test_a_cluster_without_dask_or_scheduler_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "distributed", None)
        with pytest.raises(InputError, match="extra 'cluster'"), workers(cluster="tcp://127.0.0.1:1"):
            pass
    pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    monkeypatch.setattr("diff2i2p_core.parallel.CONNECT_SECONDS", 1)
    for address in ("tcp://127.0.0.1:1", "nowhere"):
        with pytest.raises(InputError, match="start `dask scheduler`"), workers(cluster=address):
            pass


def test_importing_it_loads_neither_torch_nor_dask() -> None:
    code = "import sys, diff2i2p_core.parallel; print({'torch', 'distributed'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
