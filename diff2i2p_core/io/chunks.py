"""Large arrays are converted piece by piece, so that no temporary copy is as large as they are."""

from __future__ import annotations

from collections.abc import Iterator

CHUNK = 1_000_000
"""Rows."""


def chunks(count: int) -> Iterator[slice]:
    """Slices of at most `CHUNK` rows that cover `count` rows."""
    for first in range(0, count, CHUNK):
        yield slice(first, first + CHUNK)
