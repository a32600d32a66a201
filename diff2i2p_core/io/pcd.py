"""PCD clouds (Point Cloud Library): ascii, binary and binary_compressed."""

from __future__ import annotations

import codecs
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.io.ascii_numbers import numbers, typed, unique_names

_KINDS = {"F": "f", "I": "i", "U": "u"}
_MAX_HEADER = 1 << 20


def read_pcd(path: Path) -> dict[str, NDArray[Any]]:
    """Values (N,) or (N, COUNT) by the file's field names. Binary data are not copied.

    Keys that old files leave out have the defaults of PCL: floats of 4 bytes, one row.
    """
    with path.open("rb") as file:
        header, start = _header(path, file.read(_MAX_HEADER))
    try:
        names = unique_names(header["FIELDS"] if "FIELDS" in header else header["COLUMNS"])
        counts = [int(n) for n in header.get("COUNT", ["1"] * len(names))]
        types, sizes = header.get("TYPE", ["F"] * len(names)), header.get("SIZE", ["4"] * len(names))
        kinds = [f"<{_KINDS[kind.upper()]}{int(size)}" for kind, size in zip(types, sizes, strict=True)]
        dtype = np.dtype(
            [
                (name, kind, (count,)) if count > 1 else (name, kind)
                for name, kind, count in zip(names, kinds, counts, strict=True)
            ]
        )
        number = (
            int(header["POINTS"][0])
            if "POINTS" in header
            else int(header["WIDTH"][0]) * int(header.get("HEIGHT", ["1"])[0])
        )
        layout = header["DATA"][0].lower()
    except (KeyError, ValueError, IndexError, TypeError):
        raise InputError(f"{path}: the PCD header cannot be understood; save the cloud again") from None
    if layout == "ascii":
        return _ascii(path, path.read_bytes()[start:], number, dtype)
    if layout == "binary_compressed":
        table = _compressed(path, memoryview(path.read_bytes())[start:], number, dtype)
    elif layout != "binary":
        raise InputError(
            f"{path}: PCD data '{layout}' is unknown; save it as ascii, binary or binary_compressed"
        )
    elif number < 0 or path.stat().st_size < start + number * dtype.itemsize:
        raise _truncated(path, number)
    else:
        table = np.memmap(path, dtype, "r", start, (number,)) if number else np.empty(0, dtype)
    return {name: table[name] for name in names}


def _truncated(path: Path, number: int) -> InputError:
    return InputError(
        f"{path}: truncated: the header says {number} points, but there are fewer; copy it again"
    )


def _header(path: Path, content: bytes) -> tuple[dict[str, list[str]], int]:
    """The words of the header by key, and the offset of the points."""
    header: dict[str, list[str]] = {}
    at = 0
    while "DATA" not in header:
        end = content.find(b"\n", at, _MAX_HEADER)
        if end < 0:
            raise InputError(f"{path}: not a PCD file (no header); give a complete .pcd cloud")
        word, *values = content[at:end].removeprefix(codecs.BOM_UTF8).decode("latin-1").split() or [""]
        if word and not word.startswith("#"):
            header[word.upper()] = values
        at = end + 1
    return header, at


def _ascii(path: Path, body: bytes, number: int, dtype: np.dtype[Any]) -> dict[str, NDArray[Any]]:
    widths = {name: dtype[name].shape[0] if dtype[name].shape else 1 for name in dtype.names or ()}
    wanted = number * sum(widths.values())
    words = body.split(None, wanted) if 0 <= wanted <= len(body) else []
    if number < 0 or len(words) < wanted:
        raise _truncated(path, number)
    try:
        table = numbers(words[:wanted]).reshape(number, sum(widths.values()))
    except ValueError:
        raise InputError(f"{path}: a point is not a row of numbers; save the cloud again") from None
    columns, at = dict[str, NDArray[Any]](), 0
    for name, width in widths.items():
        values = table[:, at : at + width]
        columns[name] = typed(values if width > 1 else values[:, 0], dtype[name].base)
        at += width
    return columns


def _compressed(path: Path, body: memoryview, number: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Fields are stored one after another (all x, all y, ...), compressed together with LZF."""
    if len(body) < 8:
        raise _truncated(path, number)
    packed, unpacked = struct.unpack("<II", body[:8])
    if len(body) < 8 + packed:
        raise _truncated(path, number)
    if unpacked != number * dtype.itemsize:
        raise InputError(f"{path}: the compressed data do not hold {number} points; save the cloud again")
    try:
        data = _lzf_decompress(bytes(body[8 : 8 + packed]), unpacked)
    except (IndexError, ValueError):
        raise InputError(f"{path}: the compressed data are damaged; copy it again") from None
    result, at = np.empty(number, dtype), 0
    for name in dtype.names or ():
        size = dtype[name].itemsize * number
        result[name] = np.frombuffer(data, dtype[name], number, offset=at)
        at += size
    return result


def _lzf_decompress(packed: bytes, size: int) -> bytes:
    """LZF: a control byte below 32 starts a literal run, any other a copy from earlier output."""
    out = bytearray()
    at = 0
    while at < len(packed):
        control = packed[at]
        at += 1
        if control < 32:
            out += packed[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += packed[at]
            at += 1
        start = len(out) - ((control & 31) << 8) - packed[at] - 1
        at += 1
        length += 2
        if start < 0 or len(out) + length > size:
            raise ValueError
        if start + length <= len(out):
            out += out[start : start + length]
        else:  # the source overlaps the output: bytes repeat
            period = bytes(out[start:])
            out += (period * (length // len(period) + 1))[:length]
    if len(out) != size:
        raise ValueError
    return bytes(out)
