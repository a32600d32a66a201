"""Distributes work over processes that always end with the process that started them."""

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
    """A worker process ended without an answer: it was killed, usually because memory ran out."""


def work(
    prepare: Callable[[], Callable[[Task], Result]], tasks: Iterable[Task], jobs: int
) -> Iterator[Result]:
    """The results of all tasks, as they are completed.

    Each of `jobs` processes calls `prepare` once to get the function for its tasks; both must be picklable. A
    single job runs in this process.
    """
    if jobs == 1:
        yield from map(prepare(), tasks)
        return
    # Not a pool from the standard library: its workers wait forever if their parent is killed.
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which stops this process
    try:
        function = prepare()
        while True:
            connection.send((None, function(connection.recv())))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent has ended, or has no more tasks
    except Exception as error:
        try:
            connection.send((error, None))
        except Exception:  # not every exception is picklable
            connection.send((RuntimeError(traceback.format_exc()), None))
