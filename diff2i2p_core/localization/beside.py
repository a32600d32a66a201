"""Uses further processor cores: tasks run on threads of their own while their caller goes on.

This is the only place where the core starts threads for numerical work. torch, OpenCV and numpy release
Python's lock while they compute.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Thread
from typing import TypeVar

import torch

_AT_ONCE = 4
"""Most threads that compute at a time: a robot has other work for its cores."""

T = TypeVar("T")
X = TypeVar("X")


@contextmanager
def beside(task: Callable[[], object], device: torch.device) -> Iterator[None]:
    """Run `task`, which computes on `device`, while the body of the `with` block runs.

    Both are done, and the thread has ended, when the block is left. So nothing is left behind when a program
    ends, and no result depends on timing. An exception of the task is raised at the end of the block.

    There is no thread where it would gain nothing: with a single core, on a GPU, or if torch uses several
    threads already, which would take the cores from each other. Then the task runs after the body.
    """
    if not _gains(device):
        yield
        task()
        return
    errors: list[BaseException] = []
    inference = torch.is_inference_mode_enabled()  # threads do not inherit it

    def run() -> None:
        try:
            with torch.inference_mode(inference):
                task()
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=run, name="diff2i2p beside")
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if errors:
        raise errors[0]


def side_by_side(compute: Callable[[X], T], items: Sequence[X], device: torch.device) -> Iterator[T]:
    """The results for the items, in order. Where `beside` would use a thread, as many are computed at a time
    as there are cores, up to `_AT_ONCE`; so a few may be computed that are not asked for."""
    at_once = _at_once(device)

    def put(number: int, item: X, results: dict[int, T]) -> None:
        results[number] = compute(item)

    for first in range(0, len(items), at_once):
        ahead, *later = items[first : first + at_once]
        results = dict[int, T]()
        with ExitStack() as threads:
            for number, item in enumerate(later):
                threads.enter_context(beside(partial(put, number, item, results), device))
            result = compute(ahead)
        yield result
        yield from (results[number] for number in range(len(later)))


def spread(
    compute: Callable[[Sequence[X]], Iterable[T]], items: Sequence[X], device: torch.device
) -> list[T]:
    """The results for the items, in order, of a task that takes several: each of `in_parts` on a thread."""
    return [result for part in side_by_side(compute, in_parts(items, device), device) for result in part]


def in_parts(items: Sequence[X], device: torch.device) -> list[Sequence[X]]:
    """The items in as many parts as `side_by_side` computes at a time, for a task that takes several."""
    size = max(1, -(-len(items) // _at_once(device)))
    return [items[first : first + size] for first in range(0, len(items), size)]


def _at_once(device: torch.device) -> int:
    """How many tasks are computed at a time."""
    return min(_AT_ONCE, _cores()) if _gains(device) else 1


def _gains(device: torch.device) -> bool:
    """Whether a thread would make computing on `device` faster."""
    return device.type == "cpu" and torch.get_num_threads() == 1 and _cores() > 1


def _cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
