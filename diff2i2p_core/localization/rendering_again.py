"""Which poses are rendered again, and when a pose has come to rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from diff2i2p_core.geometry.se3 import is_near
from diff2i2p_core.localization.gates import H, is_same_pose
from diff2i2p_core.localization.hypothesis import Hypothesis
from diff2i2p_core.localization.pose_search import Surroundings
from diff2i2p_core.localization.rig_query import RigHypothesis
from diff2i2p_core.localization.settings import LocalizerSettings, ViewSettings
from diff2i2p_core.typing import Array

S = TypeVar("S", Hypothesis, RigHypothesis)

RESTLESS = "restless (renders from the pose or around it move it far)"
INDISTINCT = "indistinct (the map looks as much like the image from poses beside it)"
"""Doubts about a pose."""
_MOVES = 1
"""How often a pose that is not distinct is left for a better one beside it."""
_RESTS_METRES, _RESTS_DEG = 0.02, 0.5
"""If a render moves the pose by less, it is the last one."""


def is_at_rest(before: Array, after: Array) -> bool:
    """Whether another render from the pose `after`, found in one from `before`, would hardly move it."""
    return is_near(after, before, _RESTS_METRES, _RESTS_DEG)


def unrest(settings: ViewSettings, before: Array, after: Array | None) -> str:
    """The doubt about a pose that was found in a render from `before`, if that is far from it, else ""."""
    far = _is_far(before, after, settings.restless_distance, settings.restless_angle_deg)
    return RESTLESS if far else ""


def rendered_again(
    settings: ViewSettings,
    pose: Array,
    matched_from: Callable[[Array], S],
    search: Callable[[S], S] | None = None,
) -> S:
    """What is `matched_from` renders of the map, each from the pose that the one before gave, until it rests.
    If that agrees well enough, what the `search` around it finds."""
    renders = settings.renders if search is None else settings.first_renders
    hypothesis = rested(settings, pose, matched_from, renders)
    if search is None or (hypothesis.agreement or 0.0) < settings.searched_agreement:
        return hypothesis
    return search(hypothesis)


def rested(settings: ViewSettings, pose: Array, matched_from: Callable[[Array], S], renders: int) -> S:
    """What is `matched_from` the last of several renders, with a doubt if that moved the pose far."""
    for _ in range(renders):
        hypothesis = matched_from(pose)
        after = hypothesis.pose
        hypothesis = replace(hypothesis, doubt=unrest(settings, pose, after))
        if after is None or is_last_render(settings, hypothesis.support, pose, after):
            break
        pose = after
    return hypothesis


def searched(
    settings: ViewSettings,
    before: Array,
    around: Surroundings,
    matched_from: Callable[[Array], S],
    pose_of: Callable[[S], Array | None],
) -> S:
    """What is `matched_from` the best pose around `before` (map_from_camera), with a doubt if its pose is far
    from where the search began, or not distinct. If a pose beside it is better, what is matched from there.
    """
    found = around.best(before)
    for _ in range(1 + _MOVES):
        hypothesis = matched_from(found.pose)
        after = pose_of(hypothesis)
        if hypothesis.doubt or after is None:
            return hypothesis
        if _is_far(before, after, settings.wandered_distance, settings.wandered_angle_deg):
            return replace(hypothesis, doubt=RESTLESS)
        if (hypothesis.agreement or 0.0) < settings.alone_agreement:
            return hypothesis  # it is refused anyway
        distinct, better = around.beside(after, found)
        if distinct:
            return hypothesis
        if better is None:
            break
        before, found = better.pose, better
    return replace(hypothesis, doubt=INDISTINCT)


def _is_far(before: Array, after: Array | None, metres: float, degrees: float) -> bool:
    return after is not None and not is_near(after, before, metres, degrees)


def is_last_render(settings: ViewSettings, support: int, before: Array, after: Array) -> bool:
    """Whether to keep the pose `after` that was found in a render from `before`."""
    if support < settings.promising_inliers or is_at_rest(before, after):
        return True
    nearby = settings.nearby_distance, settings.nearby_angle_deg
    return support >= settings.plenty_inliers and is_near(after, before, *nearby)


def in_groups(
    candidates: Sequence[H],
    settings: LocalizerSettings,
    *,
    near: bool,
    most: int | None = None,
) -> list[list[H]]:
    """The first candidates with different poses, at most `most` (default: the settings'), to be rendered
    again.

    Each group has the best one that is left and, unless the search is `near` a prior, those with nearly as
    much support as another of the group: so no pose is accepted before its rivals are known.
    """
    views, gates = settings.views, settings.gates
    distinct: list[tuple[H, Array]] = []
    for candidate in candidates:
        pose = candidate.pose
        if pose is None or candidate.support < views.least_inliers:
            continue
        if not any(is_same_pose(other, pose, gates) for _, other in distinct):
            distinct.append((candidate, pose))
    chosen = [candidate for candidate, _ in distinct][: views.refined if most is None else most]
    groups = []
    while chosen:
        group = [chosen[0]]
        for candidate in sorted(chosen[1:], key=lambda each: -each.strength):
            least = min(member.strength for member in group)
            if near or candidate.strength <= gates.max_rival_support * least:
                break
            group.append(candidate)
        groups.append(group)
        chosen = [candidate for candidate in chosen if all(candidate is not member for member in group)]
    return groups
