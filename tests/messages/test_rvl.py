"""Depth in RVL: what a plain encoder writes is read back, and damaged codes are refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from bag_writer import compressed

from diff2i2p_core.errors import InputError
from diff2i2p_core.messages.images import depth_of, size_of
from diff2i2p_core.messages.rvl import decode_rvl


def encoded(values: np.ndarray) -> bytes:
    """The encoder of the paper, number by number."""
    nibbles: list[int] = []

    def put(number: int) -> None:
        while True:
            number, nibble = number >> 3, number & 7
            nibbles.append(nibble | (8 if number else 0))
            if not number:
                return

    flat, position, previous = values.ravel().tolist(), 0, 0
    while position < len(flat):
        for zero in (True, False):
            end = position
            while end < len(flat) and (flat[end] == 0) == zero:
                end += 1
            run, position = flat[position:end], end
            put(len(run))
        for value in run:
            delta = value - previous
            put((delta << 1) ^ (delta >> 63))
            previous = value
    nibbles += [0] * (-len(nibbles) % 8)
    words = np.array(nibbles, np.uint32).reshape(-1, 8) << np.arange(28, -1, -4, dtype=np.uint32)
    return bytes(words.sum(axis=1).astype("<u4").tobytes())


def test_a_known_code() -> None:
    """Two zeros; 1, 3: nibbles 2, 2, 2 (+1), 4 (+2), then padding."""
    assert encoded(np.array([0, 0, 1, 3])) == struct.pack("<I", 0x22240000)
    np.testing.assert_array_equal(decode_rvl(struct.pack("<I", 0x22240000), 4), [0, 0, 1, 3])


def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    found = [np.zeros((5, 7), np.uint16), np.full((5, 7), 65535, np.uint16), np.eye(9, dtype=np.uint16)]
    for holes in (0.0, 0.02, 0.5, 0.98):
        depth = (1000 + np.cumsum(rng.integers(-30, 31, (48, 64)), axis=1)).astype(np.uint16)
        depth[rng.random(depth.shape) < holes] = 0
        found.append(depth)
    return [*found, rng.integers(0, 65536, (11, 13)).astype(np.uint16)]


@pytest.mark.parametrize("number", range(len(images())))
def test_what_is_encoded_is_read_back(number: int) -> None:
    depth = images()[number]
    np.testing.assert_array_equal(decode_rvl(encoded(depth), depth.size).reshape(depth.shape), depth)


def test_a_message_of_image_transport() -> None:
    depth = images()[4]
    data = struct.pack("<iffII", 1, 0, 0, 64, 48) + encoded(depth)
    message = compressed(0, "camera", data, "16UC1; compressedDepth rvl")
    assert size_of(message, "depth") == (64, 48)
    np.testing.assert_allclose(depth_of(message, "depth"), depth / 1000, atol=1e-6)
    inverse = struct.pack("<iffII", 1, 5000.0, 10.0, 64, 48) + encoded(depth)
    metres = depth_of(compressed(0, "camera", inverse, "32FC1; compressedDepth rvl"), "depth")
    expected = np.where(depth > 0, 5000 / (depth.astype(float) - 10), 0)
    np.testing.assert_allclose(metres, expected, rtol=1e-5)


def test_damaged_codes_are_refused() -> None:
    rng = np.random.default_rng(1)
    whole = struct.pack("<iffII", 1, 0, 0, 64, 48) + encoded(images()[4])
    for number in range(200):
        data = bytearray(whole[: rng.integers(0, len(whole))] if number % 2 else whole)
        for _ in range(number % 5 if number % 2 else 3):
            if data:
                data[rng.integers(0, len(data))] = rng.integers(0, 256)
        message = compressed(0, "camera", bytes(data) or b"x", "16UC1; compressedDepth rvl")
        try:
            depth_of(message, "depth")
        except InputError as error:
            assert str(error).startswith("depth: ") and "\n" not in str(error)
    with pytest.raises(InputError, match=r"64x48 RVL data is damaged \(a run is too long\)"):
        depth_of(compressed(0, "camera", whole[:40], "16UC1; compressedDepth rvl"), "depth")
