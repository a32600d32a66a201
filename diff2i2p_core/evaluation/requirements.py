"""Requirements on a replay: `recall@0.25m/10deg>=0.5`, `false==0`, ..."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.replay_metrics import ReplaySummary
from diff2i2p_core.evaluation.summary import recall
from diff2i2p_core.evaluation.trajectory import QueryResult

_OPERATORS = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_QUANTITIES = {
    "ate": "rmse_translation_m",
    "ate_rotation": "rmse_rotation_deg",
    "median": "median_translation_m",
    "median_rotation": "median_rotation_deg",
    "rpe_1s": "rpe_1s.translation_m",
    "rpe_1m": "rpe_1m.translation_m",
    "false": "false_localizations",
    "availability": "availability",
    "longest_gap": "longest_gap_s",
    "first_pose": "first_pose_s",
    "latency_median": "latency_ms.median",
    "latency_p95": "latency_ms.p95",
    "dropped": "dropped",
}
"""Their paths in a `ReplaySummary`; metres, degrees, seconds, milliseconds, fractions and counts."""
_NEED_TRUTH = ("recall", "ate", "ate_rotation", "median", "median_rotation", "rpe_1s", "rpe_1m", "false")
_FORM = re.compile(r"(?P<name>[a-z0-9_]+)(?:@(?P<at>.*?))?\s*(?P<operator>>=|<=|==|>|<)\s*(?P<limit>\S+)")
_AT = re.compile(r"([0-9.]+)m/([0-9.]+)deg")


@dataclass(frozen=True)
class Requirement:
    """A limit on one of the metrics."""

    text: str
    name: str
    operator: str
    limit: float
    within: tuple[float, float] | None = None
    """Metres and degrees, for a recall."""

    @classmethod
    def parse(cls, text: str) -> Requirement:
        match = _FORM.fullmatch(text.strip())
        at = _AT.fullmatch(match["at"]) if match and match["at"] else None
        known = match is not None and (
            (match["name"] == "recall" and at is not None)
            or (match["name"] in _QUANTITIES and match["at"] is None)
        )
        try:
            if match is None or not known:
                raise ValueError
            within = (float(at[1]), float(at[2])) if at else None
            return cls(text, match["name"], match["operator"], float(match["limit"]), within)
        except ValueError:
            raise InputError(
                f"requirement '{text}': expected NAME>=NUMBER, also <=, ==, > or <, with one of "
                f"recall@0.25m/10deg, {', '.join(_QUANTITIES)}"
            ) from None

    @property
    def needs_truth(self) -> bool:
        return self.name in _NEED_TRUTH

    def judge(self, results: Sequence[QueryResult], summary: ReplaySummary) -> Verdict:
        if self.within is not None:
            value = recall(results, *self.within)
        else:
            value = operator.attrgetter(_QUANTITIES[self.name])(summary)
        passed = value is not None and bool(_OPERATORS[self.operator](value, self.limit))
        return Verdict(self.text, value, passed)


@dataclass(frozen=True)
class Verdict:
    """Whether a requirement is met. It is not met if there is no value because nothing was localized."""

    requirement: str
    value: float | None
    passed: bool
