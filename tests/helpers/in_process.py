"""Result of a run of `diff2i2p` in the test's own process."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Outcome(NamedTuple):
    """Exit status, and what was printed."""

    status: int
    out: str
    err: str


Command = Callable[..., Outcome]
