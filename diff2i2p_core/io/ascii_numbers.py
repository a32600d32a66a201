"""Columns of numbers in text, also as Windows prints those that are none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.typing import Array

_NO_NUMBER = re.compile(rb"[-+]?(1\.#\w*|#\w+|nan\(\w*\)|n/a|null)", re.IGNORECASE)
"""1.#QNAN, -1.#IND00, 1.#INF, nan(ind), ..."""


def numbers(words: Sequence[bytes]) -> Array:
    """The values (N,) of words; NaN where a word says that there is none. ValueError if one is neither."""
    try:
        return np.array(words, np.float64)
    except ValueError:
        known = [b"nan" if _NO_NUMBER.fullmatch(word) else word for word in words]
        return np.array(known, np.float64)


def typed(values: Array, kind: np.dtype[Any]) -> NDArray[Any]:
    """Values from text as the type that the header names. They stay doubles if that is no integer type, or
    if they do not fit into it."""
    if kind.kind not in "iu" or not np.isfinite(values).all():
        return values
    limits = np.iinfo(kind)
    fits = ((values >= limits.min) & (values <= limits.max) & (values == np.rint(values))).all()
    return values.astype(kind) if fits else values


def unique_names(names: Sequence[str]) -> list[str]:
    """The names of columns. One that occurs again, or an empty one, is numbered and so not used."""
    return [name if name and name not in names[:i] else f"{name} #{i}" for i, name in enumerate(names)]
