"""Metrics of localized images: one type and one JSON format for evaluations, the demo and replays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.typing import Array

T = TypeVar("T")

RECALL_LIMITS = {
    "recall_005m_5deg": (0.05, 5.0),
    "recall_010m_5deg": (0.10, 5.0),
    "recall_025m_10deg": (0.25, 10.0),
}
"""Metres and degrees of the recalls in `Summary`."""


@dataclass(frozen=True)
class Latency:
    """In milliseconds; None if no image has one."""

    median: float | None
    p95: float | None


@dataclass(frozen=True)
class WithinSigmas:
    """Fractions of the error components within one and two standard deviations (0.68 and 0.95 if these are
    right), and the factor on the deviations that would make the first 0.68."""

    within_1_sigma: float
    within_2_sigma: float
    factor_to_068: float


@dataclass(frozen=True)
class Consistency:
    """How well the reported covariances predict the errors of the poses that are not false."""

    poses: int
    position: WithinSigmas
    rotation: WithinSigmas


@dataclass(frozen=True)
class Summary:
    """Counts, errors and times of a run. Errors are measured where the true pose is known. A value is None if
    there is nothing to compute it from, such as an error if no image was localized."""

    queries: int
    """Number of processed images."""
    localized: int
    median_translation_m: float | None
    """The medians are over the localized images."""
    median_rotation_deg: float | None
    recall_005m_5deg: float | None
    """Recalls are fractions of all images with a known true pose, localized or not."""
    recall_010m_5deg: float | None
    recall_025m_10deg: float | None
    false_localizations: int | None
    covariance: Consistency | None
    latency_ms: Latency

    def as_dict(self) -> dict[str, Any]:
        """The same values with JSON types."""
        return asdict(self)


def summarize(results: Sequence[QueryResult]) -> Summary:
    """All metrics of `results`."""
    latencies = known(r.latency_ms for r in results)
    return Summary(
        queries=len(results),
        localized=sum(r.map_from_camera is not None for r in results),
        median_translation_m=percentile(known(r.translation_error_m for r in results), 50),
        median_rotation_deg=percentile(known(r.rotation_error_deg for r in results), 50),
        **{name: recall(results, *limits) for name, limits in RECALL_LIMITS.items()},
        false_localizations=sum(r.is_false for r in results) if with_truth(results) else None,
        covariance=consistency(results),
        latency_ms=Latency(percentile(latencies, 50), percentile(latencies, 95)),
    )


def with_truth(results: Sequence[QueryResult]) -> list[QueryResult]:
    """The results with a known true pose."""
    return [r for r in results if r.true_map_from_camera is not None]


def recall(results: Sequence[QueryResult], metres: float, degrees: float) -> float | None:
    """The fraction of the images with a known true pose that were localized within these limits."""
    judged = with_truth(results)
    return sum(r.within(metres, degrees) for r in judged) / len(judged) if judged else None


def consistency(results: Sequence[QueryResult]) -> Consistency | None:
    """None if there is no pose with a covariance and a truth that is not false."""
    errors = known(r.error_in_sigmas for r in results if not r.is_false)
    if not errors:
        return None
    parts = np.abs(errors).reshape(-1, 2, 3)
    return Consistency(len(errors), *(_within_sigmas(parts[:, i]) for i in range(2)))


def known(values: Iterable[T | None]) -> list[T]:
    """The values that are not None."""
    return [value for value in values if value is not None]


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The percentile of the values; None if there are none."""
    return float(np.percentile(values, percent)) if values else None


def _within_sigmas(errors: Array) -> WithinSigmas:
    """For errors (N, 3) in standard deviations."""
    return WithinSigmas(
        float((errors <= 1).mean()), float((errors <= 2).mean()), float(np.quantile(errors, 0.6827))
    )
