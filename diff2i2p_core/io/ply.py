"""PLY clouds: ascii, binary little and big endian. Only the vertices are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
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
    "float32": "f4",
    "float64": "f8",
}
_ORDERS = {"ascii": "<", "binary_little_endian": "<", "binary_big_endian": ">"}
_MAX_HEADER = 1 << 16


def read_ply(path: Path) -> NDArray[Any]:
    """The vertices (N,) as a structured array with the file's property names. Binary data are not copied."""
    with path.open("rb") as file:
        content = file.read(_MAX_HEADER)
    end = content.find(b"end_header", 0, _MAX_HEADER)
    line_end = content.find(b"\n", end)
    if not content.startswith(b"ply") or end < 0 or line_end < 0:
        raise InputError(f"{path}: not a PLY file (no header); give a complete .ply cloud")
    layout = ""
    skip, count, fields = 0, -1, list[tuple[str, str]]()
    size_of_element, elements_before = 0, 0
    try:
        for line in content[:end].decode("latin-1").splitlines():
            word, *values = line.split() or [""]
            if word == "format":
                layout = values[0]
            elif word == "element":
                if count >= 0:
                    break  # anything after the vertices is ignored
                skip += size_of_element * elements_before
                size_of_element, elements_before = 0, int(values[1])
                if values[0] == "vertex":
                    count = int(values[1])
            elif word == "property":
                if values[0] == "list":
                    raise InputError(
                        f"{path}: lists before or in the vertices; save it with plain vertices first"
                    )
                size_of_element += np.dtype(_TYPES[values[0]]).itemsize
                if count >= 0:
                    fields.append((values[1], _TYPES[values[0]]))
        order = _ORDERS[layout]
    except (KeyError, ValueError, IndexError):
        raise InputError(f"{path}: the PLY header cannot be understood; save the cloud again") from None
    if count < 0 or not fields:
        raise InputError(f"{path}: has no vertices; give a point cloud")
    if layout == "ascii":
        if skip:
            raise InputError(f"{path}: elements before the vertices; save it with the vertices first")
        return _read_ascii(path, path.read_bytes()[line_end + 1 :], count, fields)
    dtype, start = np.dtype([(name, order + kind) for name, kind in fields]), line_end + 1 + skip
    if path.stat().st_size < start + count * dtype.itemsize:
        raise InputError(
            f"{path}: truncated: the header says {count} vertices, but there are fewer; copy it again"
        )
    return np.memmap(path, dtype, "r", start, (count,)) if count else np.empty(0, dtype)


def _read_ascii(path: Path, body: bytes, count: int, fields: list[tuple[str, str]]) -> NDArray[Any]:
    wanted = count * len(fields)
    tokens = body.split(None, wanted) if wanted <= len(body) else []
    if len(tokens) < wanted:
        raise InputError(
            f"{path}: truncated: the header says {count} vertices, but there are fewer; copy it again"
        )
    try:
        table = np.array(tokens[:wanted], np.float64).reshape(count, len(fields))
    except ValueError:
        raise InputError(f"{path}: a vertex is not a row of numbers; save the cloud again") from None
    result = np.empty(count, [(name, "<" + kind) for name, kind in fields])
    for column, (name, _) in enumerate(fields):
        result[name] = table[:, column]
    return result


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
