"""Pairs by stamp: exact, nearest within the tolerance, each used once, and bounded memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from std_msgs.msg import Header

from diff2i2p.pairing import WAITING, StampPairing
from diff2i2p.poses import stamp_from


def _message(stamp: int, content: Any) -> SimpleNamespace:
    return SimpleNamespace(header=Header(stamp=stamp_from(stamp)), content=content)


class Pairs:
    def __init__(self) -> None:
        self.found: list[tuple[Any, Any]] = []
        self.unpaired = 0
        self.pairing: StampPairing[Any] = StampPairing(self._pair, self._count)

    def first(self, stamp: int, content: Any, tolerance: int) -> None:
        self.pairing.first(_message(stamp, content), content, tolerance)

    def second(self, stamp: int, content: Any, tolerance: int) -> None:
        self.pairing.second(_message(stamp, content), tolerance)

    def _pair(self, first: Any, second: Any) -> None:
        self.found.append((first, second.content))

    def _count(self) -> None:
        self.unpaired += 1


@pytest.mark.parametrize("depth_first", [False, True])
def test_equal_stamps_in_either_order(depth_first: bool) -> None:
    pairs = Pairs()
    for stamp in (100, 200, 300):
        adds = [(pairs.first, f"image {stamp}"), (pairs.second, f"depth {stamp}")]
        for add, message in reversed(adds) if depth_first else adds:
            add(stamp, message, 0)
    assert pairs.found == [(f"image {stamp}", f"depth {stamp}") for stamp in (100, 200, 300)]
    assert pairs.unpaired == 0


def test_the_nearest_within_the_tolerance_and_older_ones_are_given_up() -> None:
    pairs = Pairs()
    for stamp in (10, 20, 30):
        pairs.first(stamp, stamp, 4)
    pairs.second(15, "too far from both", 4)
    assert pairs.found == []
    pairs.second(27, "depth", 4)
    assert pairs.found == [(30, "depth")]
    assert pairs.unpaired == 2
    pairs.second(31, "second", 4)  # no message is used twice
    assert len(pairs.found) == 1


def test_streams_of_different_rates_and_offsets() -> None:
    """Images at 30 Hz, depth at 15 Hz, 3 ms late, arriving by stamp: each depth goes to its own image."""
    pairs = Pairs()
    images = [(33_000 * k, 0, k) for k in range(60)]
    depths = [(66_000 * k + 3_000, 1, k) for k in range(30)]
    for stamp, stream, number in sorted(images + depths):
        (pairs.first, pairs.second)[stream](stamp, number, 10_000)
    assert pairs.found == [(2 * k, k) for k in range(30)]
    assert pairs.unpaired == 29  # the last image without depth still waits


def test_waiting_messages_are_bounded_and_forgotten_on_reset() -> None:
    pairs = Pairs()
    stamps = np.arange(1, 101)
    for stamp in stamps:
        pairs.first(int(stamp), stamp, 0)
    assert pairs.unpaired == 100 - WAITING
    pairs.pairing.reset()
    pairs.second(100, "depth", 0)
    assert not pairs.found
