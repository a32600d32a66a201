"""Pairs prepared in processes beside the network."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import cv2
from torch.utils.data import DataLoader

from diff2i2p_core.errors import InputError
from diff2i2p_core.pairs.pair import PairSource


def load_batches(
    source: PairSource,
    numbers: Sequence[Sequence[int]],
    workers: int,
    collate: Callable[[list[Any]], Any],
    prepare_worker: Callable[[int], None] | None = None,
) -> Generator[Any, None, None]:
    """`collate` of the pairs with each batch's numbers, in order; `workers` processes make them, 0: this one.

    `prepare_worker` is called first in each process. What a source refuses is an InputError here, too.
    """
    if workers:
        # A forked worker that inherits OpenCV's threads waits for them for ever; it must inherit none.
        cv2.setNumThreads(1)
    loader: DataLoader[Any] = DataLoader(
        source,  # type: ignore[arg-type]  # all that a loader asks of it is __getitem__
        batch_sampler=numbers,  # type: ignore[arg-type]  # it asks for no more than a sequence of lists
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=prepare_worker,
        prefetch_factor=4 if workers else None,
    )
    try:
        yield from loader
    except InputError as error:
        # A worker's comes with its traceback around it, and keeps the workers through its own.
        error.__traceback__ = None
        raise InputError(str(error).rstrip().rpartition("InputError: ")[2]) from None
