"""Work spread over processes that end with the one that started them, however that ends."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerLost(Exception):
    """A worker process ended without an answer: killed, most often for want of memory."""


def work(
    prepare: Callable[[], Callable[[Task], Result]], tasks: Iterable[Task], jobs: int
) -> Iterator[Result]:
    """The results of all tasks, as they are done.

    Each of `jobs` processes calls `prepare` once for the function that does its tasks; both must pickle. One
    job is done in this process.
    """
    if jobs == 1:
        yield from map(prepare(), tasks)
        return
    # Not a pool of the standard library: its workers wait for ever once their parent was killed.
    context = multiprocessing.get_context("spawn")
    waiting = iter(tasks)
    workers: dict[Connection, Any] = {}
    try:
        for _, task in zip(range(jobs), waiting, strict=False):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, prepare), daemon=True)
            process.start()
            theirs.close()
            workers[ours] = process
            ours.send(task)
        while workers:
            for connection in wait(list(workers)):
                assert isinstance(connection, Connection)
                try:
                    failure, result = connection.recv()
                except EOFError:
                    raise WorkerLost from None
                if failure is not None:
                    raise failure
                yield result
                try:
                    connection.send(next(waiting))
                except StopIteration:
                    connection.close()
                    workers.pop(connection).join()
    finally:
        for connection, process in workers.items():
            connection.close()
            process.terminate()
            process.join()


def _serve(connection: Connection, prepare: Callable[[], Callable[[Any], Any]]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the parent, which ends us
    try:
        function = prepare()
        while True:
            connection.send((None, function(connection.recv())))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone, or needs us no more
    except Exception as error:
        try:
            connection.send((error, None))
        except Exception:  # not every exception pickles
            connection.send((RuntimeError(traceback.format_exc()), None))
