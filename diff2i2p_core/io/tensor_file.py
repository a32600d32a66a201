"""Writes safetensors files in pieces, so that no tensor has to be in memory completely."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_KINDS = {
    "float64": "F64",
    "int64": "I64",
    "float32": "F32",
    "int32": "I32",
    "float16": "F16",
    "uint8": "U8",
    "bool": "BOOL",
}


@dataclass(frozen=True)
class StreamedTensor:
    dtype: str
    """The NumPy name of the type."""
    shape: tuple[int, ...]
    parts: Callable[[], Iterable[NDArray[Any]]]
    """The rows in order, as arrays of any number of rows."""

    @classmethod
    def of(cls, array: NDArray[Any]) -> StreamedTensor:
        return cls(array.dtype.name, array.shape, lambda: [array])

    @property
    def num_bytes(self) -> int:
        return prod(self.shape) * np.dtype(self.dtype).itemsize


def write_tensors(
    path: Path, tensors: Mapping[str, StreamedTensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file. Tensors are sorted by descending item size, so that all are aligned."""
    order = sorted(tensors, key=lambda name: (-np.dtype(tensors[name].dtype).itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(metadata or {})}
    end = 0
    for name in order:
        tensor = tensors[name]
        start, end = end, end + tensor.num_bytes
        header[name] = {
            "dtype": _KINDS[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            tensor, before = tensors[name], file.tell()
            for part in tensor.parts():
                file.write(np.ascontiguousarray(part, tensor.dtype).data.cast("B") if part.size else b"")
            if file.tell() - before != tensor.num_bytes:
                raise ValueError(f"{name}: {file.tell() - before} bytes, expected {tensor.num_bytes}")
