"""Which poses are rendered again, and together with which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from diff2i2p_core.geometry.se3 import compose
from diff2i2p_core.localization.rendering_again import in_groups
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.typing import Array


@dataclass(frozen=True)
class Found:
    strength: float
    place: float
    """Metres from the others."""

    @property
    def support(self) -> int:
        return int(self.strength)

    @property
    def pose(self) -> Array:
        return compose(np.eye(3), [self.place, 0, 0])


def groups_of(
    strengths: Sequence[float], places: Sequence[float], *, near: bool = False
) -> list[list[float]]:
    found = [Found(strength, place) for strength, place in zip(strengths, places, strict=True)]
    groups = in_groups(found, LocalizerSettings(), near=near)
    return [[each.strength for each in group] for group in groups]


@pytest.mark.parametrize(
    ("strengths", "groups"),
    [
        ([100, 60, 30], [[100], [60], [30]]),
        ([100, 80, 40], [[100, 80], [40]]),
        ([100, 80, 60, 20], [[100, 80, 60], [20]]),  # 60 is a rival of 80
        ([100, 50, 40], [[100], [50, 40]]),  # and 40 of 50
        ([50, 100, 40], [[50, 100, 40]]),  # in the order of votes
        ([100, 7], [[100]]),
        ([], []),
    ],
)
def test_rivals_are_rendered_together(strengths: list[float], groups: list[list[float]]) -> None:
    assert groups_of(strengths, range(len(strengths))) == groups


def test_near_a_prior_there_are_no_rivals() -> None:
    assert groups_of([100, 90, 80], [0, 1, 2], near=True) == [[100], [90], [80]]


def test_the_same_pose_is_rendered_once_and_no_more_than_wanted() -> None:
    assert groups_of([100, 90, 30], [0, 0.1, 5]) == [[100], [30]]
    most = LocalizerSettings().views.refined
    strengths = [100.0 / 2**i for i in range(4)] + [9.0] * most
    assert sum(map(len, groups_of(strengths, range(len(strengths))))) == most
