"""Text clouds: one point per line."""

from __future__ import annotations

import codecs
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from diff2i2p_core.errors import InputError
from diff2i2p_core.io.ascii_numbers import numbers, unique_names
from diff2i2p_core.io.point_attributes import by_plain_name
from diff2i2p_core.io.raw_cloud import RawCloud, from_columns
from diff2i2p_core.typing import Array

_COMMENTS = (b"#", b"//", b";", b"%")
_DECIMAL_COMMA = re.compile(rb"[-+]?\d+(,\d+)?(e[-+]?\d+)?", re.IGNORECASE)
"""A number with one, or a whole number."""
_MOST = 0.97
_COLORS = ("red", "green", "blue")
_SURELY = 10
"""So many coordinates are not whole numbers that go up by one."""


def read_text_cloud(path: Path) -> RawCloud:
    """Points with columns named in the first line, or else in the usual order.

    That is x y z, then an intensity or red green blue or both. Numbers are separated by blanks, commas or
    semicolons. Commas beside semicolons, or inside of numbers between blanks, are decimal commas. Lines of
    comments are passed over.
    """
    names, rows = list[str](), list[list[bytes]]()
    scans = path.suffix.lower() == ".pts"
    for line in _plain(path).splitlines():
        if not rows:
            names = _names(line) or names
        if line.strip() and not line.lstrip().startswith(_COMMENTS):
            words = _words(line)
            if scans and rows and len(words) == 1 and words[0].isdigit():
                continue  # the number of points of the next scan
            rows.append(words)
        if len(rows) == 1 and (len(rows[0]) == 1 or _names(line)):
            rows.clear()  # the number of points that begins a .pts file, or names
    if not rows:
        raise InputError(f"{path}: holds no points; give a text file with x y z in each line")
    width = len(rows[0])
    ragged = next((words for words in rows if len(words) != width or width < 3), None)
    if ragged is not None:
        row = b" ".join(ragged)[:40].decode("latin-1")
        raise InputError(
            f"{path}: '{row}' has {len(ragged)} numbers instead of {max(width, 3)}; save the cloud again"
        )
    try:
        table = numbers([word for words in rows for word in words]).reshape(len(rows), width)
    except ValueError:
        raise InputError(f"{path}: a point is not a row of numbers; save the cloud again") from None
    counts = width > 3 and _counts_rows(table[:, 0], 2 if len(names) == width - 1 else _SURELY)
    if counts and len(names) != width:  # as pandas writes them, without a name
        table, width = table[:, 1:], width - 1
    if len(names) == width:
        return from_columns(dict(zip(unique_names(names), table.T, strict=True)), path)
    names = _usual_names(table, path.suffix.lower() == ".pts")
    cloud = from_columns(dict(zip(names, table.T, strict=True)), path)
    taken = [f"its columns are taken as {', '.join(names)}"] if width > 3 or counts else []
    taken += ["its first column has the numbers of the rows and is left out"] if counts else []
    return replace(cloud, notes=[*taken, *cloud.notes])


def _plain(path: Path) -> bytes:
    """The text in an encoding that has ASCII's bytes. Windows may have saved it as UTF-16."""
    content = path.read_bytes()
    if not content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode("utf-16").encode()
    except UnicodeDecodeError:
        raise InputError(f"{path}: its UTF-16 text is damaged; save the cloud again") from None


def _words(line: bytes) -> list[bytes]:
    line = line.replace(b'"', b"")
    if b"," in line and (b";" in line or _has_decimal_commas(line)):
        line = line.replace(b",", b".")
    return line.replace(b",", b" ").replace(b";", b" ").split()


def _has_decimal_commas(line: bytes) -> bool:
    """Whether blanks alone separate the numbers of a line."""
    words = line.split()
    return len(words) > 2 and all(map(_DECIMAL_COMMA.fullmatch, words))


def _names(line: bytes) -> list[str]:
    """The names of columns in a line, also behind the sign of a comment; none if it has no x, y, z."""
    names = [word.decode("latin-1") for word in _words(line.lstrip(b"#/;% \t"))]
    return names if {"x", "y", "z"} <= by_plain_name(names).keys() else []


def _counts_rows(column: Array, rows: int) -> bool:
    """Whether a column of at least so many rows has their numbers, from 0 or 1."""
    return len(column) >= rows and any(
        np.array_equal(column - first, np.arange(len(column))) for first in (0, 1)
    )


def _usual_names(table: Array, intensity_first: bool) -> list[str]:
    """Names of columns without a header. Three columns are colours if they look like them."""
    count = table.shape[1]
    more: list[str] = []
    if count >= 7 and _are_colors(table[:, 4:7]) and (intensity_first or not _are_colors(table[:, 3:6])):
        more = ["intensity", *_COLORS]
    elif count >= 6 and _are_colors(table[:, 3:6]):
        more = [*_COLORS, *(["intensity"] if count == 7 else [])]
    elif count == 4:
        more = ["intensity"]
    return [*"xyz", *more, *(f"column {i + 1}" for i in range(3 + len(more), count))]


def _are_colors(values: Array) -> bool:
    """Whether columns (N, 3) hold colours: unlike those of normals hardly any is negative, and nearly all are
    whole numbers, or at most 1."""
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        return False
    whole = (values == np.rint(values)).mean()
    return bool((values >= 0).mean() > _MOST and max(whole, (values <= 1).mean()) > _MOST)
