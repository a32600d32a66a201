"""Loads pairs in processes that run beside the network."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
from torch.utils.data import DataLoader, Dataset

from diff2i2p_core.errors import InputError


class Numbered(Protocol):
    """Pairs, or whatever a batch is made of, by number."""

    def __getitem__(self, n: int) -> Any: ...


def load_batches(
    source: Numbered,
    numbers: Sequence[Sequence[int]],
    workers: int,
    collate: Callable[[list[Any]], Any],
    prepare_worker: Callable[[int], None] | None = None,
) -> Generator[Any, None, None]:
    """Yield `collate` of the pairs for each batch of numbers, in order. `workers` processes make them; 0:
    this one.

    `prepare_worker` is called first in each process. An InputError in a worker is raised here as well.
    """
    if workers:
        # A forked worker that inherits OpenCV's threads would wait for them forever, so it must inherit none.
        cv2.setNumThreads(1)
    loader: DataLoader[Any] = DataLoader(
        _Batches(source, numbers, collate),
        batch_size=None,
        num_workers=workers,
        collate_fn=_unchanged,
        worker_init_fn=prepare_worker,
        prefetch_factor=4 if workers else None,
    )
    for batch in loader:
        if isinstance(batch, InputError):
            raise batch
        yield batch


@dataclass(frozen=True)
class _Batches(Dataset[Any]):
    """Batches by number. An InputError is returned as an object, because an exception raised in a worker
    arrives only as the text of a traceback."""

    source: Numbered
    numbers: Sequence[Sequence[int]]
    collate: Callable[[list[Any]], Any]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.collate([self.source[number] for number in self.numbers[index]])
        except InputError as error:
            return error.with_traceback(None)


def _unchanged(batch: Any) -> Any:
    return batch
