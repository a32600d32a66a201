"""MCAP files whose end is missing, as after a power cut, up to their last whole record."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"\x89MCAP0\r\n"
_FOOTER, _CHUNK, _DATA_END = 0x02, 0x06, 0x0F
_HEAD = struct.Struct("<BQ")
"""Of a record: its kind, and the number of bytes that follow."""
_CHUNK_HEAD = struct.Struct("<QQQIIQ")
"""Of a chunk without compression: times, size, checksum, length of the compression's name, size."""
_END = _HEAD.pack(_DATA_END, 4) + bytes(4) + _HEAD.pack(_FOOTER, 20) + bytes(20) + MAGIC
"""The end of a file without an index."""


class CutMcap:
    """Stands in for the path of a cut file: what it opens is whole. Nothing is copied or written."""

    suffix = ".mcap"

    def __init__(self, path: Path) -> None:
        self._path, self.name = path, path.name

    def __str__(self) -> str:
        return str(self._path)

    def exists(self) -> bool:
        return True

    def is_dir(self) -> bool:
        return False

    def open(self, *_: Any) -> BinaryIO:
        file = self._path.open("rb")
        size = self._path.stat().st_size
        end, partial = _last_record(file, len(MAGIC), size)
        parts: list[tuple[int, int] | bytes] = [(0, end)]
        if partial:
            parts += _partial_chunk(file, end, size)
        return io.BufferedReader(_Joined(file, [*parts, _END]))


def is_cut(path: Path) -> bool:
    """Whether a file begins as MCAP but does not end so."""
    with path.open("rb") as file:
        begin = file.read(len(MAGIC))
        file.seek(max(0, path.stat().st_size - len(MAGIC)))
        return begin == MAGIC and file.read() != MAGIC


def _last_record(file: BinaryIO, position: int, end: int) -> tuple[int, bool]:
    """Where the last whole record ends, and whether a chunk follows that is not whole."""
    while position + _HEAD.size <= end:
        file.seek(position)
        kind, length = _HEAD.unpack(file.read(_HEAD.size))
        if kind in (0, _DATA_END, _FOOTER):  # zeros: disks have them behind a cut
            break
        if position + _HEAD.size + length > end:
            return position, kind == _CHUNK
        position += _HEAD.size + length
    return position, False


def _partial_chunk(file: BinaryIO, position: int, end: int) -> list[tuple[int, int] | bytes]:
    """The whole messages of a chunk that is cut, as a chunk; nothing if it is compressed."""
    begin = position + _HEAD.size + _CHUNK_HEAD.size
    file.seek(position + _HEAD.size)
    head = file.read(_CHUNK_HEAD.size)
    if len(head) < _CHUNK_HEAD.size:
        return []
    first, last, _, _, compression, _ = _CHUNK_HEAD.unpack(head)
    if compression:
        return []
    size = _last_record(file, begin, end)[0] - begin
    whole = _CHUNK_HEAD.pack(first, last, size, 0, 0, size)
    return [_HEAD.pack(_CHUNK, len(whole) + size) + whole, (begin, begin + size)]


class _Joined(io.RawIOBase):
    """Parts of a file (from, to) and bytes, one after another, for reading."""

    def __init__(self, file: BinaryIO, parts: list[tuple[int, int] | bytes]) -> None:
        self._file, self._parts = file, parts
        self._position = 0
        self._size = sum(map(_length, parts))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        offset = self._position
        for part in self._parts:
            if offset < _length(part):
                data = self._read(part, offset, len(buffer))
                buffer[: len(data)] = data
                self._position += len(data)
                return len(data)
            offset -= _length(part)
        return 0

    def _read(self, part: tuple[int, int] | bytes, offset: int, count: int) -> bytes:
        if isinstance(part, bytes):
            return part[offset : offset + count]
        begin, end = part
        self._file.seek(begin + offset)
        return self._file.read(min(count, end - begin - offset))

    def close(self) -> None:
        self._file.close()
        super().close()


def _length(part: tuple[int, int] | bytes) -> int:
    return len(part) if isinstance(part, bytes) else part[1] - part[0]
