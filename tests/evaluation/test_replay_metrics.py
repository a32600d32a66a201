"""The numbers of a replay against ones calculated by hand, and the requirements on them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.replay_metrics import RelativeError, aligned, gate, summarize_replay
from diff2i2p_core.evaluation.requirements import Requirement
from diff2i2p_core.evaluation.summary import recall, summarize
from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.geometry.covariance import perturb
from diff2i2p_core.geometry.se3 import compose, exp
from diff2i2p_core.reports.replay_plots import errors_over_time, gaps
from diff2i2p_core.typing import Array


def walk(number: int) -> Array:
    """Two frames a second, 0.3 m each, always looking the same way."""
    return compose(exp([0.3, -0.2, 0.5, 0, 0, 0])[:3, :3], [0.3 * number, 0, 1])


def result(
    number: int, delta: Array | None, covariance: Array | None = None, latency: float = 100
) -> QueryResult:
    """With an estimate that is off by (x, y, z, rotX, rotY, rotZ) in the map; None: not localized."""
    truth = walk(number)
    estimate = None if delta is None else perturb(truth, np.asarray(delta, float))
    reason = "" if delta is not None else f"too few inliers ({number}, need 60)"
    return QueryResult(
        number, 50 + number / 2, truth, estimate, reason, 80, 0.5, latency, covariance=covariance
    )


def off(metres: float, degrees: float = 0.0) -> Array:
    return np.array([0, 0, metres, 0, np.radians(degrees), 0])


def test_errors_recall_availability_and_reasons() -> None:
    results = [
        result(1, off(0.04)),
        result(2, off(0.2, 3)),
        result(3, None),
        result(4, None),
        result(7, off(0.7), latency=300),
    ]
    summary = summarize_replay(results, begin=50.0, end=55.0, dropped=6)
    assert json.dumps(summary.as_dict(), allow_nan=False)
    assert (summary.queries, summary.localized, summary.dropped) == (5, 3, 6)
    assert summary.availability == pytest.approx(0.6)
    assert summary.first_pose_s == pytest.approx(0.5)
    assert summary.longest_gap_s == pytest.approx(2.5)  # frames 2 to 7
    expected = np.sqrt((0.04**2 + 0.2**2 + 0.7**2) / 3)
    assert summary.rmse_translation_m == pytest.approx(expected)
    assert summary.median_translation_m == pytest.approx(0.2)
    assert summary.rmse_rotation_deg == pytest.approx(np.sqrt(9 / 3), abs=1e-4)
    assert (summary.recall_005m_5deg, summary.recall_010m_5deg) == (0.2, 0.2)
    assert (summary.recall_025m_10deg, summary.recall_050m_10deg) == (0.4, 0.4)
    assert summary.false_localizations == 1
    assert summary.latency_ms.median == 100
    assert summary.reasons == {"too few inliers": 2}


def test_a_replay_says_what_an_evaluation_says_in_the_same_words() -> None:
    results = [result(1, off(0.04), np.eye(6)), result(2, off(0.7, 3)), result(3, None)]
    evaluated, replayed = summarize(results).as_dict(), summarize_replay(results, 50, 52).as_dict()
    assert {name: replayed[name] for name in evaluated} == evaluated


def test_relative_errors_over_a_second_and_a_metre() -> None:
    """A constant offset is no drift; 1 cm more a frame is 2 cm a second and 4 cm over 4 x 0.3 m."""
    steady = summarize_replay([result(i, off(0.3)) for i in range(10)], 50, 55)
    assert steady.rpe_1s.pairs == 8
    assert steady.rpe_1s.translation_m == pytest.approx(0, abs=1e-9)
    drifting = summarize_replay([result(i, off(0.01 * i)) for i in range(10)], 50, 55)
    assert drifting.rpe_1s.translation_m == pytest.approx(0.02)
    assert (drifting.rpe_1m.pairs, drifting.rpe_1m.rotation_deg) == (6, pytest.approx(0))
    assert drifting.rpe_1m.translation_m == pytest.approx(0.04)
    far_apart = summarize_replay([result(0, off(0)), result(8, off(0.1))], 50, 55)
    assert far_apart.rpe_1s == RelativeError(pairs=0, translation_m=None, rotation_deg=None)


def test_an_honest_covariance_and_one_that_promises_too_much() -> None:
    rng = np.random.default_rng(0)
    sigma = np.array([0.03, 0.01, 0.02, 0.005, 0.02, 0.01])
    covariance = np.diag(sigma**2)
    errors = rng.normal(size=(800, 6)) * sigma
    honest = summarize_replay([result(i, e, covariance) for i, e in enumerate(errors)], 50, 60)
    assert honest.covariance is not None and honest.covariance.poses == 800
    assert honest.nees.position == pytest.approx(1, abs=0.08)
    assert honest.nees.rotation == pytest.approx(1, abs=0.08)
    for found in (honest.covariance.position, honest.covariance.rotation):
        assert found.within_1_sigma == pytest.approx(0.683, abs=0.03)
        assert found.within_2_sigma == pytest.approx(0.954, abs=0.015)
    proud = [result(i, e, covariance / 4) for i, e in enumerate(errors[:300])]
    assert summarize_replay(proud, 50, 60).nees.position == pytest.approx(4, rel=0.15)


def test_without_truth_only_what_needs_none() -> None:
    found = QueryResult(0, 0.0, None, np.eye(4), latency_ms=5.0)
    summary = summarize_replay([found], 0, 1)
    assert summary.availability == 1 and summary.with_truth == 0
    assert summary.false_localizations is None and summary.rmse_translation_m is None
    assert {value for name, value in summary.as_dict().items() if name.startswith("recall")} == {None}
    assert not found.is_false and recall([found], 1, 1) is None


def test_empty_results_are_still_json() -> None:
    summary = summarize_replay([result(1, None)], 50, 51)
    assert json.dumps(summary.as_dict(), allow_nan=False)
    assert (summary.longest_gap_s, summary.first_pose_s) == (None, None)
    assert json.dumps(summarize_replay([], 50, 51).as_dict(), allow_nan=False)


def test_a_truth_of_another_frame_is_moved_onto_the_estimates() -> None:
    other = exp([0.5, -1, 2, 10, -20, 3])
    results = [result(i, off(0.0 if i % 2 else 0.02)) for i in range(10)]
    moved = [QueryResult(r.number, r.stamp, other @ walk(r.number), r.map_from_camera) for r in results] + [
        QueryResult(11, 60.0, None, np.eye(4))
    ]
    summary = summarize_replay(aligned(moved), 50, 60)
    assert summary.rmse_translation_m == pytest.approx(0.01, abs=1e-6)
    assert summary.rmse_rotation_deg == pytest.approx(0, abs=1e-4)
    lost = [result(1, None)]
    assert aligned(lost) == lost


def test_reasons_are_grouped_without_their_numbers() -> None:
    assert gate("low inlier ratio (0.12, need 0.30)") == "low inlier ratio"
    assert gate("") == "no answer"


@pytest.mark.parametrize(
    ("text", "value", "passed"),
    [
        ("recall@0.25m/10deg>=0.4", 0.4, True),
        ("recall@0.03m/1deg > 0.5", 0.0, False),
        ("false==1", 1, True),
        ("false<=0", 1, False),
        ("ate<=0.5", 0.4209, True),
        ("ate_rotation<2", 1.7320, True),
        ("availability>=0.8", 0.6, False),
        ("latency_p95<=350", 260, True),
        ("longest_gap<3", 2.5, True),
        ("rpe_1s<1", None, False),
    ],
)
def test_requirements(text: str, value: float | None, passed: bool) -> None:
    results = [result(1, off(0.04)), result(2, off(0.2, 3)), result(3, None), result(4, None)]
    results.append(result(7, off(0.7), latency=300))
    verdict = Requirement.parse(text).judge(results, summarize_replay(results, 50, 55))
    assert verdict.passed is passed
    assert verdict.value == (None if value is None else pytest.approx(value, abs=1e-3))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ate",
        "ate=0.1",
        "ate<=ten",
        "recall>=0.5",
        "recall@0.25>=0.5",
        "recall@.m/1deg>=1",
        "speed>=1",
        "ate@1m/1deg<=1",
    ],
)
def test_invalid_requirements(text: str) -> None:
    with pytest.raises(InputError, match="expected NAME>=NUMBER"):
        Requirement.parse(text)


def test_gaps_are_shaded_and_missing_images_are_ticks() -> None:
    results = [result(0, off(0.04)), result(1, off(0.2)), result(2, None), result(5, off(0.01))]
    assert gaps(results, 50, 52.7) == [(50.5, 52.5)]
    svg = errors_over_time(results, lambda r: r.translation_error_m, 50, 52.7, "Position", (0.05, 0.1), "m")
    assert svg.count('class="gap"') == 1 and "2.0 s without a pose" in svg
    assert svg.count('class="missing"') == 1 and "too few inliers (2, need 60)" in svg
    assert svg.count('class="good"') == 2 and svg.count('class="fair"') == 1
