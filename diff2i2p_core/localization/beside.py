"""Uses a second processor core: a task runs on a thread of its own while its caller goes on.

This is the only place where the core starts threads for numerical work. torch, OpenCV and numpy release
Python's lock while they compute.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

import torch


@contextmanager
def beside(task: Callable[[], object], device: torch.device) -> Iterator[None]:
    """Run `task`, which computes on `device`, while the body of the `with` block runs.

    Both are done, and the thread has ended, when the block is left. So nothing is left behind when a program
    ends, and no result depends on timing. An exception of the task is raised at the end of the block.

    There is no thread where it would gain nothing: with a single core, on a GPU, or if torch uses several
    threads already, which would take the cores from each other. Then the task runs after the body.
    """
    if device.type != "cpu" or torch.get_num_threads() > 1 or _cores() < 2:
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


def _cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
