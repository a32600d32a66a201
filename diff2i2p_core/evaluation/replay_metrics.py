"""Metrics of a replay, in addition to the summary of its images: drift, availability, gaps, reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from diff2i2p_core.evaluation.summary import Summary, known, recall, summarize, with_truth
from diff2i2p_core.evaluation.trajectory import FALSE_DEGREES, FALSE_METRES, QueryResult
from diff2i2p_core.geometry.covariance import difference
from diff2i2p_core.geometry.se3 import compose, invert, rotation_error_deg
from diff2i2p_core.typing import Array


@dataclass(frozen=True)
class RelativeError:
    """Root mean square error of the motion between pairs of poses. None if there are no pairs."""

    pairs: int
    translation_m: float | None
    rotation_deg: float | None


@dataclass(frozen=True)
class SquaredErrors:
    """Mean normalized squared errors over three degrees of freedom: 1 if the covariance is right."""

    position: float | None
    rotation: float | None


@dataclass(frozen=True)
class ReplaySummary(Summary):
    """A summary of images in order of time."""

    recall_050m_10deg: float | None
    rmse_translation_m: float | None
    """Root mean square error of the localized images, also called absolute trajectory error (ATE)."""
    rmse_rotation_deg: float | None
    rpe_1s: RelativeError
    """Over the motion of one second, and of one metre."""
    rpe_1m: RelativeError
    nees: SquaredErrors
    with_truth: int
    """Number of images with a known true pose."""
    dropped: int
    """Number of images that were not processed."""
    availability: float | None
    """Fraction of the images with a pose."""
    longest_gap_s: float | None
    """Longest time without a pose between the recording's first and last image."""
    first_pose_s: float | None
    reasons: dict[str, int]
    """How many images were not localized for each reason, most frequent first."""


def summarize_replay(
    results: Sequence[QueryResult], begin: float, end: float, dropped: int = 0
) -> ReplaySummary:
    """All metrics of `results`.

    Args:
        results: those of the processed images, in order of time.
        begin: stamp of the recording's first image in seconds, processed or not; `end`: of its last.
        dropped: number of images that were not processed.
    """
    judged = with_truth(results)
    stamps = [r.stamp for r in results if r.map_from_camera is not None]
    return ReplaySummary(
        **vars(summarize(results)),
        recall_050m_10deg=recall(results, FALSE_METRES, FALSE_DEGREES),
        rmse_translation_m=_rmse(known(r.translation_error_m for r in results)),
        rmse_rotation_deg=_rmse(known(r.rotation_error_deg for r in results)),
        rpe_1s=_relative(judged, seconds=1.0),
        rpe_1m=_relative(judged, metres=1.0),
        nees=_squared_errors(judged),
        with_truth=len(judged),
        dropped=dropped,
        availability=len(stamps) / len(results) if results else None,
        longest_gap_s=float(np.diff([begin, *stamps, end]).max()) if stamps else None,
        first_pose_s=stamps[0] - begin if stamps else None,
        reasons=reasons(results),
    )


def reasons(results: Sequence[QueryResult]) -> dict[str, int]:
    """How often each gate was the reason, most frequent first."""
    counts = Counter(gate(r.reason) for r in results if r.map_from_camera is None)
    return dict(counts.most_common())


def gate(reason: str) -> str:
    """The phrase at the beginning of a reason, without its numbers."""
    return reason.partition(" (")[0] or "no answer"


def aligned(results: Sequence[QueryResult]) -> list[QueryResult]:
    """The results with the truth moved onto the estimates by the mean rotation, then by the mean offset."""
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


def _rmse(values: Sequence[float]) -> float | None:
    return float(np.sqrt(np.mean(np.square(values)))) if values else None


def _relative(
    judged: Sequence[QueryResult], *, seconds: float | None = None, metres: float | None = None
) -> RelativeError:
    """The error of the motion between poses that are `seconds` or `metres` apart, up to 1.5 times that."""
    positions = np.array([_truth(r)[:3, 3] for r in judged]).reshape(-1, 3)
    if seconds is not None:
        along, apart = np.array([r.stamp for r in judged]), seconds
    else:
        steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
        along, apart = np.concatenate([[0.0], np.cumsum(steps)])[: len(judged)], metres or 0.0
    localized = np.flatnonzero([r.map_from_camera is not None for r in judged])
    reached = along[localized]
    offsets, turns = [], []
    # A microsecond or micrometre of slack, because stamps in seconds are rounded.
    for first, later in enumerate(np.searchsorted(reached, reached + apart - 1e-6).tolist()):
        if later == len(localized) or reached[later] > reached[first] + 1.5 * apart:
            continue
        start, end = judged[int(localized[first])], judged[int(localized[later])]
        true = invert(_truth(start)) @ _truth(end)
        estimated = invert(_estimate(start)) @ _estimate(end)
        offsets.append(float(np.linalg.norm((invert(true) @ estimated)[:3, 3])))
        turns.append(rotation_error_deg(true, estimated))
    return RelativeError(len(offsets), _rmse(offsets), _rmse(turns))


def _squared_errors(judged: Sequence[QueryResult]) -> SquaredErrors:
    squared: dict[str, list[float]] = {"position": [], "rotation": []}
    for r in judged:
        if r.map_from_camera is None or r.covariance is None or r.is_false:
            continue
        error = difference(r.map_from_camera, _truth(r))
        for name, part in (("position", slice(0, 3)), ("rotation", slice(3, 6))):
            solved = np.linalg.lstsq(r.covariance[part, part], error[part], rcond=None)[0]
            squared[name].append(float(error[part] @ solved) / 3)
    return SquaredErrors(
        **{name: float(np.mean(errors)) if errors else None for name, errors in squared.items()}
    )


def _truth(result: QueryResult) -> Array:
    assert result.true_map_from_camera is not None
    return result.true_map_from_camera


def _estimate(result: QueryResult) -> Array:
    assert result.map_from_camera is not None
    return result.map_from_camera
