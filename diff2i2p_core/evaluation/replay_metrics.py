"""What a replay has beside the summary of its images: drift, availability, gaps, reasons."""

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
    """Root mean square error of the motion between pairs of poses; None without a pair."""

    pairs: int
    translation_m: float | None
    rotation_deg: float | None


@dataclass(frozen=True)
class SquaredErrors:
    """Mean normalized squared errors by their three degrees of freedom: 1 if the covariance is right."""

    position: float | None
    rotation: float | None


@dataclass(frozen=True)
class ReplaySummary(Summary):
    """A summary of images that have an order in time."""

    recall_050m_10deg: float | None
    rmse_translation_m: float | None
    """Root mean square error of the localized images, also called absolute trajectory error (ATE)."""
    rmse_rotation_deg: float | None
    rpe_1s: RelativeError
    """Over the motion of a second, and of a metre."""
    rpe_1m: RelativeError
    nees: SquaredErrors
    with_truth: int
    """Images whose true pose is known."""
    dropped: int
    """Images that were not worked on."""
    availability: float | None
    """Fraction of the images with a pose."""
    longest_gap_s: float | None
    """Without a pose, from the recording's first image to its last."""
    first_pose_s: float | None
    reasons: dict[str, int]
    """How often each gate was why an image was not localized, the most frequent first."""


def summarize_replay(
    results: Sequence[QueryResult], begin: float, end: float, dropped: int = 0
) -> ReplaySummary:
    """All numbers of `results`.

    Args:
        results: of the images that were worked on, in order of time.
        begin: stamp of the recording's first image in seconds, worked on or not; `end` of its last.
        dropped: images that were not worked on.
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


def _rmse(values: Sequence[float]) -> float | None:
    return float(np.sqrt(np.mean(np.square(values)))) if values else None


def _relative(
    judged: Sequence[QueryResult], *, seconds: float | None = None, metres: float | None = None
) -> RelativeError:
    """Between poses so far apart (at most half as much again)."""
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
