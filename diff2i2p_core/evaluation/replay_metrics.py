"""The numbers of a replay: errors, drift, availability, latency, and whether the covariance is honest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from diff2i2p_core.evaluation.trajectory import QueryResult, consistency, percentile
from diff2i2p_core.geometry.covariance import difference
from diff2i2p_core.geometry.se3 import compose, invert, rotation_error_deg
from diff2i2p_core.typing import Array

RECALL_LIMITS = ((0.05, 5.0), (0.10, 5.0), (0.25, 10.0), (0.50, 10.0))
"""Metres, degrees."""


def replay_summary(
    results: Sequence[QueryResult], begin: float, end: float, dropped: int = 0
) -> dict[str, Any]:
    """All numbers, JSON types; None where there is nothing to count.

    Args:
        results: of the images that were worked on, in order of time.
        begin: stamp of the recording's first image in seconds, worked on or not; `end` of its last.
        dropped: images that were not worked on.
    """
    judged = [r for r in results if r.true_map_from_camera is not None]
    metres = [r.translation_error_m for r in judged if r.map_from_camera is not None]
    degrees = [r.rotation_error_deg for r in judged if r.map_from_camera is not None]
    stamps = [r.stamp for r in results if r.map_from_camera is not None]
    latencies = [r.latency_ms for r in results if r.latency_ms is not None]
    edges = [begin, *stamps, end]
    return {
        "images": len(results),
        "dropped": dropped,
        "localized": len(stamps),
        "with_truth": len(judged),
        "availability": len(stamps) / len(results) if results else None,
        "longest_gap_s": float(np.diff(edges).max()) if stamps else None,
        "first_pose_s": stamps[0] - begin if stamps else None,
        "ate": {
            "translation_m": {"rmse": _rmse(metres), "median": percentile(metres, 50)},
            "rotation_deg": {"rmse": _rmse(degrees), "median": percentile(degrees, 50)},
        },
        "rpe": {"1s": _relative(judged, seconds=1.0), "1m": _relative(judged, metres=1.0)},
        "recall": {recall_name(m, d): recall(results, m, d) for m, d in RECALL_LIMITS},
        "false_localizations": sum(r.is_false for r in judged) if judged else None,
        "latency_ms": {"median": percentile(latencies, 50), "p95": percentile(latencies, 95)},
        "covariance": consistency([r for r in judged if r.map_from_camera is not None]),
        "nees": _nees(judged),
        "reasons": reasons(results),
    }


def recall_name(metres: float, degrees: float) -> str:
    """As in `recall@0.1m/5deg`."""
    return f"{metres:g}m/{degrees:g}deg"


def recall(results: Sequence[QueryResult], metres: float, degrees: float) -> float | None:
    """The share of the images with a known true pose that were localized within these limits."""
    judged = [r for r in results if r.true_map_from_camera is not None]
    return sum(r.within(metres, degrees) for r in judged) / len(judged) if judged else None


def reasons(results: Sequence[QueryResult]) -> dict[str, int]:
    """How often each gate's name was the reason, the most frequent first."""
    counts = Counter(gate(r.reason) for r in results if r.map_from_camera is None)
    return dict(counts.most_common())


def gate(reason: str) -> str:
    """The phrase that a reason begins with, without its numbers."""
    return reason.partition(" (")[0] or "no answer"


def aligned(results: Sequence[QueryResult]) -> list[QueryResult]:
    """With the truth moved rigidly onto the estimates: mean rotation between them first, then mean offset."""
    both = [
        (r.map_from_camera, r.true_map_from_camera)
        for r in results
        if r.map_from_camera is not None and r.true_map_from_camera is not None
    ]
    if not both:
        return list(results)
    turn = Rotation.from_matrix(np.stack([a[:3, :3] @ b[:3, :3].T for a, b in both])).mean().as_matrix()
    map_from_truth = compose(turn, np.mean([a[:3, 3] - turn @ b[:3, 3] for a, b in both], axis=0))
    return [
        r
        if r.true_map_from_camera is None
        else replace(r, true_map_from_camera=map_from_truth @ r.true_map_from_camera)
        for r in results
    ]


def _rmse(values: Sequence[float | None]) -> float | None:
    return float(np.sqrt(np.mean(np.square(np.asarray(values, float))))) if len(values) else None


def _relative(
    judged: Sequence[QueryResult], *, seconds: float | None = None, metres: float | None = None
) -> dict[str, Any]:
    """Errors of the motion between poses so far apart (at most half as much again), root mean square."""
    positions = np.array([_truth(r)[:3, 3] for r in judged]).reshape(-1, 3)
    if seconds is not None:
        along, apart = np.array([r.stamp for r in judged]), seconds
    else:
        steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
        along, apart = np.concatenate([[0.0], np.cumsum(steps)])[: len(judged)], metres or 0.0
    found = np.flatnonzero([r.map_from_camera is not None for r in judged])
    reached = along[found]
    offsets, turns = [], []
    # A microsecond, or micrometre, of slack: stamps in seconds are rounded.
    for first, later in enumerate(np.searchsorted(reached, reached + apart - 1e-6).tolist()):
        if later == len(found) or reached[later] > reached[first] + 1.5 * apart:
            continue
        start, end = judged[int(found[first])], judged[int(found[later])]
        true = invert(_truth(start)) @ _truth(end)
        estimated = invert(_estimate(start)) @ _estimate(end)
        offsets.append(float(np.linalg.norm((invert(true) @ estimated)[:3, 3])))
        turns.append(rotation_error_deg(true, estimated))
    return {"pairs": len(offsets), "translation_m": _rmse(offsets), "rotation_deg": _rmse(turns)}


def _nees(judged: Sequence[QueryResult]) -> dict[str, float | None]:
    """Mean normalized squared errors by their three degrees of freedom: 1 if the covariance is right."""
    squared: dict[str, list[float]] = {"position": [], "rotation": []}
    for r in judged:
        if r.map_from_camera is None or r.covariance is None or r.is_false:
            continue
        error = difference(r.map_from_camera, _truth(r))
        for name, part in (("position", slice(0, 3)), ("rotation", slice(3, 6))):
            solved = np.linalg.lstsq(r.covariance[part, part], error[part], rcond=None)[0]
            squared[name].append(float(error[part] @ solved) / 3)
    return {name: float(np.mean(values)) if values else None for name, values in squared.items()}


def _truth(result: QueryResult) -> Array:
    assert result.true_map_from_camera is not None
    return result.true_map_from_camera


def _estimate(result: QueryResult) -> Array:
    assert result.map_from_camera is not None
    return result.map_from_camera
