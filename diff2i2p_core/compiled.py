"""Loops over points and pixels in machine code, by numba.

NumPy passes through memory once for each operation, and holds Python's lock meanwhile. A compiled loop does
all operations in one pass, without the lock, so two threads do not wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial, wraps
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function of numbers and arrays when it is first called.

    The code is kept beside the source file (or in the user's cache, where that is read-only) for the next
    process. Division by zero gives infinity, as in NumPy; sums are added in any order. numba itself is only
    imported then, because that takes a third of a second.
    """

    @cache
    def machine_code() -> Any:
        from numba import njit

        translated: Any = partial(njit, nogil=True, error_model="numpy", fastmath={"reassoc"})
        try:
            return translated(cache=True)(function)
        except RuntimeError:  # there is no place to keep it
            return translated()(function)

    @wraps(function)
    def call(*arguments: Any) -> Any:
        return machine_code()(*arguments)

    return cast(F, call)
