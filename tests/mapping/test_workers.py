from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.mapping.workers import WorkerLost, work


class Square:
    """Picklable work: the squares of numbers; a negative one raises, 0 ends the process."""

    def __call__(self) -> Callable[[int], int]:
        return self.square

    @staticmethod
    def square(number: int) -> int:
        if number < 0:
            raise InputError(f"{number} is negative")
        if number == 0:
            os._exit(9)
        return number**2


def test_processes_share_the_work_and_their_errors_arrive() -> None:
    assert sorted(work(Square(), range(1, 8), 2)) == [1, 4, 9, 16, 25, 36, 49]
    with pytest.raises(InputError, match="-1 is negative"):
        list(work(Square(), [1, -1, 3], 2))
    with pytest.raises(WorkerLost):
        list(work(Square(), [1, 0, 3], 2))
