"""Compiled loops: the same results as in Python, where no file can be kept, too, and only when needed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from diff2i2p_core.compiled import compiled


def shares(values: NDArray[np.float32], total: np.float32) -> NDArray[np.float32]:
    """A loop for the tests."""
    out = np.empty_like(values)
    for i in range(len(values)):
        out[i] = values[i] / total
    return out


def test_a_compiled_loop_does_what_python_does() -> None:
    values = np.array([1, 2, 5], np.float32)
    fast = compiled(shares)
    np.testing.assert_array_equal(fast(values, np.float32(8)), shares(values, np.float32(8)))
    assert np.isinf(fast(values, np.float32(0))).all(), "as in NumPy"
    assert fast.__doc__ == shares.__doc__


def test_without_a_place_to_keep_the_code_it_is_compiled_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba
    from numba.core import caching

    def nowhere(*_: object) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(caching.FunctionCache, "__init__", nowhere)
    with pytest.raises(RuntimeError):
        numba.njit(cache=True)(shares)
    assert compiled(shares)(np.ones(2, np.float32), np.float32(4)).tolist() == [0.25, 0.25]


def test_numba_is_imported_only_when_a_loop_runs() -> None:
    code = "import sys, diff2i2p_core.localization.localizer; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
