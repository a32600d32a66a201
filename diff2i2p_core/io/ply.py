"""PLY clouds: ascii, binary little and big endian. Only the vertices are read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.ascii_numbers import numbers, typed, unique_names
from diff2i2p_core.io.files import atomic_path

_TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "float": "f4",
    "double": "f8",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "int64": "i8",
    "uint64": "u8",
    "float32": "f4",
    "float64": "f8",
}
_ORDERS = {"ascii": "<", "binary_little_endian": "<", "binary_big_endian": ">"}
_START = re.compile(rb"(?:\xef\xbb\xbf)?ply[ \t]*(\r\n|\n|\r)", re.IGNORECASE)
"""A byte order mark is passed over; the end of the first line is that of all."""
_MAX_HEADER = 1 << 24


@dataclass
class _Element:
    """A table in the file."""

    name: str
    count: int
    names: list[str] = field(default_factory=list)
    kinds: list[np.dtype[Any]] = field(default_factory=list)
    lengths: list[np.dtype[Any] | None] = field(default_factory=list)
    """For each property the type of a list's length; None for a number."""

    @property
    def has_lists(self) -> bool:
        return any(length is not None for length in self.lengths)

    @property
    def numbers(self) -> list[tuple[str, int]]:
        """The properties that are no lists: names, each once, and places."""
        return [(name, i) for i, name in enumerate(unique_names(self.names)) if self.lengths[i] is None]


def read_ply(path: Path) -> dict[str, NDArray[Any]]:
    """The vertices' numbers (N,) by the file's property names, without lists. Binary data are not copied."""
    with path.open("rb") as file:
        layout, elements, start = _header(path, file.read(_MAX_HEADER))
    vertices: dict[str, NDArray[Any]] = {}
    try:
        if layout == "ascii":
            return _ascii(path.read_bytes()[start:], elements)
        content = np.memmap(path, np.uint8, "r")
        for element in elements:
            vertices, start = _binary(content, start, element)
    except EOFError:
        count = elements[-1].count
        raise InputError(
            f"{path}: truncated: the header says {count} vertices, but there are fewer; copy it again"
        ) from None
    except ValueError:
        raise InputError(f"{path}: a vertex is not a row of numbers; save the cloud again") from None
    return vertices


def _header(path: Path, content: bytes) -> tuple[str, list[_Element], int]:
    """The format, the elements up to the vertices, and the offset of the data."""
    begin, elements, layout, end = _START.match(content), list[_Element](), "", -1
    if begin is None:
        raise InputError(f"{path}: not a PLY file (no header); give a complete .ply cloud")
    try:
        for line, after in _lines(content, begin.end(), b"\r" if begin[1] == b"\r" else b"\n"):
            word, *values = line.split() or [""]
            if word == "end_header":
                end = after
                break
            if word == "format":
                layout = values[0]
            elif word == "element":
                elements.append(_Element(values[0], int(values[1])))
            elif word == "property":
                _add_property(elements[-1], values, _ORDERS[layout])
    except (KeyError, ValueError, IndexError):
        raise InputError(f"{path}: the PLY header cannot be understood; save the cloud again") from None
    if end < 0:
        raise InputError(f"{path}: not a PLY file (its header has no end); give a complete .ply cloud")
    if layout not in _ORDERS or any(element.count < 0 for element in elements):
        raise InputError(f"{path}: the PLY header cannot be understood; save the cloud again")
    names = [element.name for element in elements]
    if "vertex" not in names or not elements[names.index("vertex")].numbers:
        raise InputError(f"{path}: has no vertices; give a point cloud")
    return layout, elements[: names.index("vertex") + 1], end


def _lines(content: bytes, at: int, ending: bytes) -> Iterator[tuple[str, int]]:
    """Each line of the header, and the offset behind it."""
    while (end := content.find(ending, at)) >= 0:
        yield content[at:end].decode("latin-1"), end + 1
        at = end + 1


def _add_property(element: _Element, words: list[str], order: str) -> None:
    """From the words of a line: TYPE NAME, or list TYPE_OF_LENGTH TYPE NAME. Names may contain spaces."""
    is_list = words[0] == "list"
    length, kind, *name = words[1:] if is_list else ["", *words]
    element.names.append(" ".join(name))
    element.kinds.append(np.dtype(order + _TYPES[kind]))
    element.lengths.append(np.dtype(order + _TYPES[length]) if is_list else None)
    if is_list and _TYPES[length].startswith("f"):
        raise ValueError


def _binary(content: NDArray[np.uint8], start: int, element: _Element) -> tuple[dict[str, NDArray[Any]], int]:
    """The numbers of an element by their names, and its end. EOFError if the file ends first."""
    if element.count == 0:
        return {name: np.empty(0, element.kinds[i]) for name, i in element.numbers}, start
    places, end = _row(content, start, element)
    size = end - start
    end = start + element.count * size
    if end <= len(content) and _are_alike(content[start:end].reshape(-1, size), element, places):
        views = {
            name: np.ndarray((element.count,), element.kinds[i], content, places[i], (size,))
            for name, i in element.numbers
        }
        return views, end
    if not element.has_lists or element.count > len(content):
        raise EOFError
    rows, end = np.empty((element.count, len(places)), np.int64), start
    for row in rows:
        row[:], end = _row(content, end, element)
    return {name: _gathered(content, rows[:, i], element.kinds[i]) for name, i in element.numbers}, end


def _row(content: NDArray[np.uint8], start: int, element: _Element) -> tuple[list[int], int]:
    """The offset of each property of a row, and its end. EOFError if the file ends first."""
    places, at = list[int](), start
    for kind, length in zip(element.kinds, element.lengths, strict=True):
        places.append(at)
        count = 1
        if length is not None:
            if at + length.itemsize > len(content):
                raise EOFError
            count = max(int(content[at : at + length.itemsize].view(length)[0]), 0)
            at += length.itemsize
        at += count * kind.itemsize
    if at > len(content):
        raise EOFError
    return places, at


def _are_alike(rows: NDArray[np.uint8], element: _Element, places: list[int]) -> bool:
    """Whether the lists of all rows (N, bytes) are as long as those of the first, which has these places."""
    sizes = [
        (place - places[0], length.itemsize)
        for place, length in zip(places, element.lengths, strict=True)
        if length is not None
    ]
    return all(bool((rows[:, at : at + n] == rows[0, at : at + n]).all()) for at, n in sizes)


def _gathered(content: NDArray[np.uint8], places: NDArray[np.int64], kind: np.dtype[Any]) -> NDArray[Any]:
    """The values (N,) that begin at these places."""
    values: NDArray[Any] = np.asarray(content)[places[:, None] + np.arange(kind.itemsize)].view(kind)
    return values[:, 0]


def _ascii(body: bytes, elements: list[_Element]) -> dict[str, NDArray[Any]]:
    """The numbers of the last element by their names. EOFError if the file ends first."""
    wanted = sum(element.count * len(element.names) for element in elements)
    if wanted > len(body):
        raise EOFError
    words = body.split(None, -1 if any(element.has_lists for element in elements) else wanted)
    kept, start = list[bytes](), 0
    for element in elements:
        kept, start = _ascii_rows(words, start, element)
    vertices = elements[-1]
    table = numbers(kept).reshape(vertices.count, len(vertices.numbers))
    return {
        name: typed(table[:, column], vertices.kinds[i]) for column, (name, i) in enumerate(vertices.numbers)
    }


def _ascii_rows(words: list[bytes], start: int, element: _Element) -> tuple[list[bytes], int]:
    """The words of an element that are not in lists, and its end. EOFError if the file ends first."""
    kept, at = list[bytes](), start
    if not element.has_lists:
        at += element.count * len(element.names)
        kept = words[start:at]
    for _ in range(element.count if element.has_lists else 0):
        for length in element.lengths:
            if at >= len(words):
                raise EOFError
            if length is not None:
                at += max(int(words[at]), 0)
            else:
                kept.append(words[at])
            at += 1
    if at > len(words):
        raise EOFError
    return kept, at


def write_ply(path: Path | str, cloud: PointCloud) -> None:
    """Write a cloud, with its colours and intensity, as binary little endian PLY."""
    columns: dict[str, NDArray[Any]] = {name: cloud.points[:, axis] for axis, name in enumerate("xyz")}
    if cloud.colors is not None:
        columns |= {name: cloud.colors[:, i] for i, name in enumerate(("red", "green", "blue"))}
    if cloud.intensity is not None:
        columns["intensity"] = cloud.intensity
    kinds = [(name, "<f4" if values.dtype.kind == "f" else "u1") for name, values in columns.items()]
    vertices = np.empty(len(cloud), kinds)
    for name, values in columns.items():
        vertices[name] = values
    properties = "".join(f"property {'float' if kind == '<f4' else 'uchar'} {name}\n" for name, kind in kinds)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(cloud)}\n{properties}end_header\n"
    with atomic_path(path) as temporary:
        temporary.write_bytes(header.encode("ascii") + vertices.tobytes())
