"""PCD clouds (Point Cloud Library): ascii, binary and binary_compressed."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError

_KINDS = {"F": "f", "I": "i", "U": "u"}
_MAX_HEADER = 1 << 16


def read_pcd(path: Path) -> NDArray[Any]:
    """The points (N,) as a structured array with the file's field names. Binary data are not copied."""
    with path.open("rb") as file:
        header, start = _header(path, file.read(_MAX_HEADER))
    try:
        names, counts = header["FIELDS"], [int(n) for n in header.get("COUNT", ["1"] * len(header["FIELDS"]))]
        kinds = [
            f"<{_KINDS[kind]}{int(size)}" for kind, size in zip(header["TYPE"], header["SIZE"], strict=True)
        ]
        dtype = np.dtype(
            [
                # PCL may use the name "_" for padding several times
                (name if name != "_" else f"_{i}", kind, (count,)) if count > 1 else (name, kind)
                for i, (name, kind, count) in enumerate(zip(names, kinds, counts, strict=True))
            ]
        )
        number = (
            int(header["POINTS"][0])
            if "POINTS" in header
            else int(header["WIDTH"][0]) * int(header["HEIGHT"][0])
        )
        layout = header["DATA"][0]
    except (KeyError, ValueError, IndexError, TypeError):
        raise InputError(f"{path}: the PCD header cannot be understood; save the cloud again") from None
    if layout == "binary_compressed":
        return _compressed(path, memoryview(path.read_bytes())[start:], number, dtype)
    if layout == "ascii":
        return _ascii(path, path.read_bytes()[start:], number, dtype, sum(counts))
    if layout != "binary":
        raise InputError(
            f"{path}: PCD data '{layout}' is unknown; save it as ascii, binary or binary_compressed"
        )
    if number < 0 or path.stat().st_size < start + number * dtype.itemsize:
        raise _truncated(path, number)
    return np.memmap(path, dtype, "r", start, (number,)) if number else np.empty(0, dtype)


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
        word, *values = content[at:end].decode("latin-1").split() or [""]
        if word and not word.startswith("#"):
            header[word.upper()] = values
        at = end + 1
    return header, at


def _ascii(path: Path, body: bytes, number: int, dtype: np.dtype[Any], columns: int) -> NDArray[Any]:
    wanted = number * columns
    tokens = body.split(None, wanted) if 0 <= wanted <= len(body) else []
    if number < 0 or len(tokens) < wanted:
        raise _truncated(path, number)
    try:
        table = np.array(tokens[:wanted], np.float64).reshape(number, columns)
    except ValueError:
        raise InputError(f"{path}: a point is not a row of numbers; save the cloud again") from None
    result = np.empty(number, dtype)
    column = 0
    for name in dtype.names or ():
        width = dtype[name].shape[0] if dtype[name].shape else 1
        values = table[:, column : column + width]
        result[name] = values if width > 1 else values[:, 0]
        column += width
    return result


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
