"""Runs tasks in this process, in processes or threads of this machine, or on a Dask cluster.

joblib serves this machine. A cluster is used through Dask's own client, because joblib's Dask backend waits
forever for a task that ends its workers.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool

from diff2i2p_core.errors import InputError

Task = TypeVar("Task")
Result = TypeVar("Result")
Prepared = TypeVar("Prepared")

CONNECT_SECONDS = 10
SAME_VERSIONS = ("diff2i2p_core", "torch", "numpy")
"""Packages whose version must be the same on all workers, so that results do not depend on the worker."""


class WorkerLost(Exception):
    """A task got no answer: its worker was killed, or the cluster stopped. The text says which."""


class ClusterError(InputError):
    """The cluster cannot be used. The work itself may be sound, so what is done is kept."""


class Run(Protocol):
    """Yields the index and the result of each task, as tasks are completed.

    `function` and `tasks` are picklable if there is more than this process. The first exception of a task is
    raised. On a cluster, a task whose worker is lost runs again elsewhere, so tasks must be idempotent.
    """

    def __call__(
        self, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Iterator[tuple[int, Result]]: ...


@contextmanager
def workers(
    jobs: int = 1, cluster: str | None = None, *, threads: bool = False, shared: Path | None = None
) -> Iterator[Run]:
    """`jobs` processes (or `threads`) of this machine, or the workers of a Dask `cluster` (the address of its
    scheduler). They end with the block; those of a cluster stay.

    Workers of a cluster must see the folder `shared` under the same absolute path. ClusterError if they do
    not, or if the cluster cannot be used.
    """
    try:
        if cluster is not None:
            yield from _cluster(cluster, shared)
        else:
            yield from _this_machine(jobs, threads)
    finally:
        forget_prepared()


def check_cluster(cluster: str | None, shared: Path) -> None:
    """ClusterError if `workers` could not use the `cluster` with this folder: known before other work."""
    if cluster is not None:
        with workers(cluster=cluster, shared=shared):
            pass


def once_per_process(prepare: Callable[[], Prepared]) -> Prepared:
    """`prepare()`, called once in a process for all its tasks that give an equal, picklable `prepare`."""
    with _PREPARING:
        prepared: Prepared = _prepared(pickle.dumps(prepare))
    return prepared


_PREPARING = threading.Lock()


@lru_cache(maxsize=2)
def _prepared(prepare: bytes) -> Any:
    return pickle.loads(prepare)()  # pickled above, in the same process


def forget_prepared() -> None:
    _prepared.cache_clear()


def _this_machine(jobs: int, threads: bool) -> Iterator[Run]:
    backend = "threading" if threads else "loky"
    processes = jobs > 1 and not threads

    def run(function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[int, Result]]:
        parallel = Parallel(
            jobs, backend=backend, return_as="generator_unordered", batch_size=1, max_nbytes=None
        )
        call = delayed(_in_child if processes else _numbered)
        results = parallel(call(function, number, task) for number, task in enumerate(tasks))
        try:
            # `yield from` would close them, and joblib warn, before the `finally`.
            for result in results:  # noqa: UP028
                yield result
        except BrokenProcessPool:
            raise WorkerLost("a worker process was killed, perhaps for lack of memory") from None
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # about tasks that nobody waits for any more
                results.close()

    try:
        yield run
    finally:
        if processes:
            get_reusable_executor(reuse=True).shutdown(kill_workers=True)


def _numbered(function: Callable[[Task], Result], number: int, task: Task) -> tuple[int, Result]:
    return number, function(task)


def _in_child(function: Callable[[Task], Result], number: int, task: Task) -> tuple[int, Result]:
    _prepare_child()
    return number, function(task)


@lru_cache
def _prepare_child() -> None:
    """Ctrl-C is for the parent, which stops this process. If the parent is killed, this process ends, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _use_one_thread()
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _use_one_thread() -> None:
    if torch := sys.modules.get("torch"):  # a function that uses it has imported it
        torch.set_num_threads(1)


def _on_cluster(function: Callable[[Task], Result], number: int, task: Task) -> tuple[int, Result]:
    _use_one_thread()
    return number, function(task)


def _cluster(address: str, shared: Path | None) -> Iterator[Run]:
    try:
        from distributed import Client, KilledWorker, as_completed
        from distributed.comm.core import CommClosedError
    except ModuleNotFoundError:
        raise ClusterError("`cluster`: needs Dask; install the extra 'cluster' of diff2i2p_core") from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what is lost is said below
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError):
        raise ClusterError(
            f"`cluster` {address}: no scheduler answers; start `dask scheduler`, and give its address, such "
            "as tcp://HOST:8786"
        ) from None

    def run(function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[int, Result]]:
        def submit(number: int, task: Task) -> Any:
            return client.submit(_on_cluster, function, number, task, pure=False)

        waiting = enumerate(tasks)
        at_once = 2 * sum(client.nthreads().values())  # so that no worker waits for the next task
        first = [submit(*task) for task in islice(waiting, at_once)]
        running = as_completed(first, loop=client.loop)
        for future in running:
            try:
                result = future.result()
            except KilledWorker:
                raise WorkerLost("a task ended several workers, perhaps for lack of memory") from None
            except (CancelledError, CommClosedError):  # the latter while it sends a result
                raise WorkerLost(f"the cluster {address} has stopped") from None
            for task in islice(waiting, 1):
                running.add(submit(*task))
            yield result

    try:
        _check_cluster(client, address, shared)
        yield run
        client.run(forget_prepared, on_error="ignore")
    finally:
        client.close(timeout=CONNECT_SECONDS)


def _check_cluster(client: Any, address: str, shared: Path | None) -> None:
    """ClusterError if the cluster has no workers, other versions, or does not see the folder `shared`."""
    versions = client.get_versions(packages=list(SAME_VERSIONS))
    if not versions["workers"]:
        raise ClusterError(f"`cluster` {address}: has no workers; start some with `dask worker {address}`")
    here = versions["client"]["packages"]
    for worker, there in versions["workers"].items():
        for name in SAME_VERSIONS:
            if there["packages"].get(name) != here[name]:
                raise ClusterError(
                    f"`cluster` {address}: its worker {worker} has {name} {there['packages'].get(name)}, "
                    f"this process has {here[name]}; install the same versions"
                )
    if shared is not None:
        for worker, sees in client.run(os.path.isdir, str(shared.absolute())).items():
            if not sees:
                raise ClusterError(
                    f"`cluster` {address}: its worker {worker} does not see {shared.absolute()}; give a "
                    "folder that all workers share"
                )
