"""Finds lost packets of H.264. FFmpeg shows pictures without what they refer to, and does not say so.

Pictures that others refer to are numbered (`frame_num`), which is near the begin of each slice (ITU-T H.264,
7.3.2.1 and 7.3.3). FFmpeg leaves out such pictures of H.265 by itself.
"""

from __future__ import annotations

from collections.abc import Iterator

_SLICE, _KEY_SLICE, _PARAMETERS = 1, 5, 7
_HEADER = 256
"""Bytes of a unit that are read: more than its header has."""
_WITH_CHROMA = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
"""Profiles whose parameters include the format of chroma."""


class ReferenceGaps:
    """Follows the numbers of the pictures of one stream."""

    def __init__(self) -> None:
        self._bits = 0
        """Of a number; 0 before the stream's parameters."""
        self._planes = False
        self._last: int | None = None
        """The number of the last picture that others refer to; None if it is not known."""

    def before(self, packet: bytes) -> bool:
        """Whether pictures are missing that this one refers to. Damaged packets raise IndexError."""
        for kind, referred, bits in _units(packet):
            if kind == _PARAMETERS:
                self._read_parameters(bits)
            elif kind in (_SLICE, _KEY_SLICE) and self._bits:
                return self._follow(kind, referred, bits)
        return False

    def _read_parameters(self, bits: _Bits) -> None:
        profile = bits.fixed(8)
        bits.fixed(16)
        bits.unsigned()
        self._planes = False
        if profile in _WITH_CHROMA:
            chroma = bits.unsigned()
            if chroma == 3:
                self._planes = bool(bits.fixed(1))
            bits.unsigned(), bits.unsigned(), bits.fixed(1)
            if bits.fixed(1):
                for number in range(12 if chroma == 3 else 8):
                    if bits.fixed(1):
                        bits.skip_scaling(16 if number < 6 else 64)
        self._bits = bits.unsigned() + 4

    def _follow(self, kind: int, referred: bool, bits: _Bits) -> bool:
        bits.unsigned(), bits.unsigned(), bits.unsigned()
        if self._planes:
            bits.fixed(2)
        number, last = bits.fixed(self._bits), self._last
        if referred:
            self._last = number
        if kind == _KEY_SLICE or last is None:
            return False
        return number not in (last, (last + 1) % (1 << self._bits))


def _units(packet: bytes) -> Iterator[tuple[int, bool, _Bits]]:
    """Of each unit its type, whether others refer to it, and its first bits."""
    at = packet.find(b"\0\0\1")
    while at >= 0 and at + 3 < len(packet):
        head = packet[at + 3]
        content = packet[at + 4 : at + 4 + _HEADER].replace(b"\0\0\3", b"\0\0")
        yield head & 31, bool(head & 96), _Bits(content)
        at = packet.find(b"\0\0\1", at + 3)


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    def fixed(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = 2 * value + (self._data[self._position // 8] >> (7 - self._position % 8) & 1)
            self._position += 1
        return value

    def unsigned(self) -> int:
        """An Exp-Golomb code."""
        zeros = 0
        while not self.fixed(1):
            zeros += 1
        return (1 << zeros) - 1 + self.fixed(zeros)

    def skip_scaling(self, size: int) -> None:
        """A list of scaling factors, stored as differences."""
        last = following = 8
        for _ in range(size):
            if following:
                code = self.unsigned()
                following = (last + ((code + 1) // 2 if code % 2 else -(code // 2))) % 256
            last = following or last
