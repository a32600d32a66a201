"""Pose errors and the summary, against numbers worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from diff2i2p_core.evaluation.trajectory import QueryResult, summarize
from diff2i2p_core.geometry.se3 import Array, exp


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
    assert list(summary) == [
        "queries",
        "localized",
        "median_translation_m",
        "median_rotation_deg",
        "recall_005m_5deg",
        "recall_010m_5deg",
        "recall_025m_10deg",
        "false_localizations",
        "latency_ms",
    ]
    assert (summary["queries"], summary["localized"]) == (8, 6)
    assert summary["median_translation_m"] == pytest.approx(0.095)
    assert summary["median_rotation_deg"] == pytest.approx(4.0, abs=1e-5)
    assert summary["recall_005m_5deg"] == 1 / 8
    assert summary["recall_010m_5deg"] == 2 / 8
    assert summary["recall_025m_10deg"] == 4 / 8
    assert summary["false_localizations"] == 2
    assert summary["latency_ms"] == {"median": 200.0, "p95": pytest.approx(290.0)}


def test_nothing_localized_gives_nulls_that_json_can_hold() -> None:
    summary = summarize([result(0, None)])
    assert json.loads(json.dumps(summary))["median_translation_m"] is None
    assert summary["latency_ms"] == {"median": None, "p95": None}
    assert summary["recall_025m_10deg"] == 0
    json.dumps(result(0, 0.1).as_dict())
