"""Choosing frames for map and queries."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.localize_frames import evenly, in_range

FRAMES: Any = SimpleNamespace(numbers=[0, 2, 4, 6, 8], folder=Path("kitchen"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":", [0, 2, 4, 6, 8]),
        ("2:6", [2, 4, 6]),
        (":3", [0, 2]),
        ("5:", [6, 8]),
        ("0:6:4", [0, 4]),
        ("6:,0:2,2:4", [0, 2, 4, 6, 8]),
    ],
)
def test_a_range_includes_both_ends(text: str, expected: list[int]) -> None:
    assert in_range(FRAMES, text, "--map-range") == expected


@pytest.mark.parametrize("text", ["5", "a:b", "1:2:3", "5:5", "9:", "0:8:0", "0:2,x", "0:1:2:3"])
def test_an_invalid_range_names_the_option(text: str) -> None:
    with pytest.raises(InputError, match="--map-range"):
        in_range(FRAMES, text, "--map-range")


def test_a_limit_spreads_evenly() -> None:
    assert evenly([0, 2, 4, 6, 8], None) == [0, 2, 4, 6, 8]
    assert evenly([0, 2, 4, 6, 8], 9) == [0, 2, 4, 6, 8]
    assert evenly([0, 2, 4, 6, 8], 2) == [0, 4]
