"""Pose errors and the summary, against numbers calculated by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from diff2i2p_core.evaluation.summary import WithinSigmas, consistency, summarize
from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.geometry.covariance import difference, perturb
from diff2i2p_core.geometry.se3 import exp
from diff2i2p_core.typing import Array


def result(
    number: int, metres: float | None, degrees: float = 0.0, latency: float | None = None
) -> QueryResult:
    truth = exp([0.3, -0.2, 0.5, 1.0, 2.0, -1.0])
    estimate: Array | None = None
    if metres is not None:
        estimate = truth @ exp([0, np.radians(degrees), 0, 0, 0, 0])
        estimate[:3, 3] += [0, 0, metres]
    return QueryResult(
        number, number / 30, truth, estimate, "" if estimate is not None else "too few", 9, 0.5, latency
    )


def test_errors_of_a_known_offset() -> None:
    one = result(0, 0.12, 7.5)
    assert one.translation_error_m == pytest.approx(0.12)
    assert one.rotation_error_deg == pytest.approx(7.5, abs=1e-5)
    assert result(1, None).translation_error_m is None


def test_summary_of_known_errors() -> None:
    results = [
        result(0, 0.04, 1, latency=100),
        result(1, 0.09, 2, latency=200),
        result(2, 0.09, 6, latency=300),
        result(3, 0.20, 9),
        result(4, 0.10, 12),
        result(5, 0.60, 1),
        result(6, None),
        result(7, None),
    ]
    summary = summarize(results)
    assert list(summary.as_dict()) == [
        "queries",
        "localized",
        "median_translation_m",
        "median_rotation_deg",
        "recall_005m_5deg",
        "recall_010m_5deg",
        "recall_025m_10deg",
        "false_localizations",
        "covariance",
        "latency_ms",
    ]
    assert (summary.queries, summary.localized) == (8, 6)
    assert summary.median_translation_m == pytest.approx(0.095)
    assert summary.median_rotation_deg == pytest.approx(4.0, abs=1e-5)
    assert summary.recall_005m_5deg == 1 / 8
    assert summary.recall_010m_5deg == 2 / 8
    assert summary.recall_025m_10deg == 4 / 8
    assert summary.false_localizations == 2
    assert (summary.latency_ms.median, summary.latency_ms.p95) == (200, pytest.approx(290))


def test_nothing_localized_gives_nulls_that_json_can_hold() -> None:
    summary = summarize([result(0, None)])
    assert json.loads(json.dumps(summary.as_dict()))["median_translation_m"] is None
    assert summary.as_dict()["latency_ms"] == {"median": None, "p95": None}
    assert summary.recall_025m_10deg == 0
    json.dumps(result(0, 0.1).as_dict())


def test_honest_covariances_hold_their_fractions_and_small_ones_name_the_factor() -> None:
    rng = np.random.default_rng(4)
    spread = rng.normal(size=(6, 6)) * [0.02, 0.02, 0.02, 0.01, 0.01, 0.01]
    covariance = spread.T @ spread
    truth = exp([0.3, -0.2, 0.5, 1.0, 2.0, -1.0])
    errors = rng.multivariate_normal(np.zeros(6), covariance, 3000)
    np.testing.assert_allclose(difference(perturb(truth, errors[0]), truth), errors[0], atol=1e-12)

    def run(reported: Array) -> tuple[WithinSigmas, WithinSigmas]:
        found = consistency(
            [QueryResult(i, 0, truth, perturb(truth, e), covariance=reported) for i, e in enumerate(errors)]
        )
        assert found is not None and found.poses == 3000
        return found.position, found.rotation

    for honest, bold in zip(run(covariance), run(covariance / 9), strict=True):
        assert honest.within_1_sigma == pytest.approx(0.683, abs=0.02)
        assert honest.within_2_sigma == pytest.approx(0.954, abs=0.01)
        assert honest.factor_to_068 == pytest.approx(1, abs=0.04)
        assert bold.within_1_sigma < 0.3 and bold.factor_to_068 == pytest.approx(3, abs=0.12)


def test_consistency_needs_poses_with_covariances_and_leaves_false_ones_out() -> None:
    assert consistency([result(0, None), result(1, 0.1)]) is None
    false = QueryResult(0, 0, np.eye(4), exp([0, 0, 0, 2, 0, 0]), covariance=np.eye(6))
    assert consistency([false]) is None
