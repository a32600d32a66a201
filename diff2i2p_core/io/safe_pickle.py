"""Reads pickled tables of plain values and NumPy arrays without running any code from the file.

A pickle is a program that names functions and calls them. Here, the few names needed for NumPy arrays and
scalars are mapped to inert classes in this file. Any other name is refused before it can be called.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError

_DTYPE = re.compile(r"[iu][1248]|f[248]|b1|U\d{1,4}")


def load_records(path: Path | str) -> list[dict[Any, Any]]:
    """A pickled list of flat dicts of plain values, NumPy arrays and scalars. InputError if it is not."""
    try:
        content = Path(path).read_bytes()
        _check_sizes(content)
        records = _Unpickler(content, path).load()
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise InputError(f"{path}: not a list of dicts; give a metadata file of the benchmark")
        return [{k: _resolved(v) for k, v in record.items()} for record in records]
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a metadata file") from None
    except Exception as error:  # broken bytes can make the unpickler raise anything
        what = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{path}: broken pickle ({what}); get the file again") from None


def _check_sizes(content: bytes) -> None:
    """Refuse lengths and memo indices larger than the file: the unpickler would allocate them at once."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > len(content):
            raise ValueError("a number larger than the file")


class _Dtype:
    """Replaces numpy.dtype; allows numbers, booleans and strings."""

    def __init__(self, code: str, *_: object) -> None:
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise ValueError(f"arrays of type {str(code)[:20]!r} are not allowed")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, *structure = state[:5]
        if order not in ("<", ">", "=", "|") or any(part is not None for part in structure):
            raise ValueError("structured arrays are not allowed")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Replaces NumPy's _reconstruct: an empty array that gets its content with its state."""

    def __init__(self, *_: object) -> None:
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        self.value = _array(raw, dtype, shape, "F" if fortran else "C")


class _Buffer(_Array):
    """Replaces NumPy's _frombuffer (protocol 5)."""

    def __init__(self, raw: object, dtype: object, shape: object, order: object) -> None:
        self.value = _array(raw, dtype, shape, order)


class _Scalar:
    """Replaces NumPy's scalar. The value is a Python number or string."""

    def __init__(self, dtype: object, raw: object) -> None:
        self.value = _array(raw, dtype, (), "C").item()


class _Bytes(bytes):
    """Replaces _codecs.encode, with which protocol 2 writes bytes."""

    def __new__(cls, text: str, encoding: str) -> _Bytes:
        if encoding != "latin1":
            raise ValueError("bytes in an unknown encoding")
        return super().__new__(cls, text.encode("latin1"))


def _array(raw: object, dtype: object, shape: Any, order: Any) -> NDArray[Any]:
    if not isinstance(raw, (bytes, bytearray)) or not isinstance(dtype, _Dtype):
        raise ValueError("an array of objects is not allowed")
    array: NDArray[Any] = np.frombuffer(bytes(raw), dtype.dtype).reshape(shape, order=order)
    return array


def _resolved(value: Any) -> Any:
    return value.value if isinstance(value, (_Array, _Scalar)) else value


_NAMES: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Bytes,
    **{
        (f"numpy.{core}.{module}", name): kind
        for core in ("core", "_core")  # NumPy 1 and 2
        for module, name, kind in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _Scalar),
            ("numeric", "_frombuffer", _Buffer),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, path: Path | str) -> None:
        super().__init__(io.BytesIO(content))
        self.path = path

    def find_class(self, module: str, name: str) -> type:
        try:
            return _NAMES[module, name]
        except KeyError:
            raise InputError(
                f"{self.path}: names {f'{module}.{name}'[:60]!r}, which is not allowed in a table of "
                "numbers and texts; nothing was run; get the file from its publisher"
            ) from None
