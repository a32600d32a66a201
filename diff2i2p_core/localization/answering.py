"""Asks for hypotheses until an answer is accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from diff2i2p_core.localization.hypothesis import Hypothesis
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.localization.rig_query import RigHypothesis
from diff2i2p_core.localization.rig_result import RigLocalization

H = TypeVar("H", Hypothesis, RigHypothesis)
Answer = TypeVar("Answer", Localization, RigLocalization)


def first_accepted(
    proposals: Iterable[Iterable[Sequence[H]]],
    judge: Callable[[Sequence[H], bool], Answer],
    answer: Answer,
) -> Answer:
    """The first answer that is accepted, or the last one; `answer` without any. `proposals` are the groups of
    hypotheses of each proposer. It is judged after each group, with those of the same proposer before; and if
    they were compared with the image, once more at the end, as all.
    """
    for groups in proposals:
        hypotheses: list[H] = []
        for group in groups:
            hypotheses += group
            answer = judge(hypotheses, False)
            if answer.localized:
                return answer
        if any(hypothesis.agreement is not None for hypothesis in hypotheses):
            answer = judge(hypotheses, True)
            if answer.localized:
                return answer
    return answer
