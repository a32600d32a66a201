"""Orders hypotheses of a camera or of a rig, and tells whether the first one has no rival."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from diff2i2p_core.localization.gates import Supported, is_same_pose, rivals
from diff2i2p_core.localization.settings import GateSettings


class Doubted(Supported, Protocol):
    @property
    def settled(self) -> bool: ...

    @property
    def doubt(self) -> str: ...


D = TypeVar("D", bound=Doubted)


def by_strength(hypotheses: Sequence[D], gates: GateSettings) -> list[D]:
    """The hypotheses, strongest first. If the strongest pose is doubted, but another search came to the same
    pose and is not, that first."""
    ranked = sorted(hypotheses, key=lambda each: -each.strength)
    first = ranked[0]
    if first.pose is None or not first.doubt:
        return ranked
    for other in ranked:
        if other.pose is None or not other.settled or other.doubt:
            continue
        if is_same_pose(first.pose, other.pose, gates):
            return [other, *(each for each in ranked if each is not other)]
    return ranked


def is_alone(ranked: Sequence[Supported], gates: GateSettings, most: float) -> bool:
    """Whether the first one has a pose, and no other pose more than the fraction `most` of its strength."""
    best = ranked[0]
    limits = replace(gates, max_rival_support=most)
    return best.pose is not None and next(rivals(best.pose, best.strength, ranked, limits), None) is None
