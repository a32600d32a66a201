"""Writing safetensors files piece by piece, so that no tensor need be in memory as a whole."""

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
    """NumPy's name of it."""
    shape: tuple[int, ...]
    parts: Callable[[], Iterable[NDArray[Any]]]
    """Its rows in order, in arrays of any number of rows."""

    @classmethod
    def of(cls, array: NDArray[Any]) -> StreamedTensor:
        return cls(array.dtype.name, array.shape, lambda: [array])

    @property
    def num_bytes(self) -> int:
        return prod(self.shape) * np.dtype(self.dtype).itemsize


def write_tensors(
    path: Path, tensors: Mapping[str, StreamedTensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file, in order of falling item size so that every tensor is aligned."""
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
                raise ValueError(f"{name}: {file.tell() - before} bytes, {tensor.num_bytes} announced")
