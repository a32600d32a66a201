"""RVL, the lossless code for depth of compressed_depth_image_transport (Wilson, ISS 2017).

The pixels are runs: the number of zeros, the number of other values, and the difference of each of these to
the value before. All are numbers of variable length: nibbles of three bits, the lowest first, with a bit that
says whether more follow. Eight nibbles make a word of 32 bits, the first one at its top.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def decode_rvl(data: bytes, count: int) -> NDArray[np.uint16]:
    """The `count` values of a code. ValueError if it ends early or holds more."""
    numbers = _numbers(data)
    values = np.zeros(count, np.int64)
    filled = used = 0
    previous = 0
    while filled < count:
        if used + 2 > len(numbers):
            raise ValueError("the code ends early")
        zeros, others = int(numbers[used]), int(numbers[used + 1])
        used += 2
        filled += zeros
        if filled + others > count or used + others > len(numbers):
            raise ValueError("a run is too long")
        coded = numbers[used : used + others]
        run = previous + np.cumsum((coded >> 1) ^ -(coded & 1))
        values[filled : filled + others] = run
        previous = int(run[-1]) if others else previous
        filled += others
        used += others
    if values.min(initial=0) < 0 or values.max(initial=0) > 0xFFFF:
        raise ValueError("a value has more than 16 bits")
    return values.astype(np.uint16)


def _numbers(data: bytes) -> NDArray[np.int64]:
    """All numbers of variable length; what follows the last whole one is left out."""
    words = np.frombuffer(data[: len(data) // 4 * 4], "<u4")
    nibbles = (words[:, None] >> np.arange(28, -1, -4, dtype=np.uint32)).ravel() & 15
    ends = np.flatnonzero(nibbles < 8)
    if not len(ends):
        return np.empty(0, np.int64)
    begins = np.concatenate([[0], ends[:-1] + 1])
    if (ends - begins).max() > 10:
        raise ValueError("a number has more than 32 bits")
    place = np.arange(ends[-1] + 1) - np.repeat(begins, ends - begins + 1)
    return np.add.reduceat((nibbles[: ends[-1] + 1].astype(np.int64) & 7) << (3 * place), begins)
