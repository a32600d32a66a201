"""Verification for several cameras: one answer from hypotheses about the body, with one gate for all images.

A camera that sees nothing useful must not harm. So the inliers of the cameras that support a pose are judged
together, and those of the others are left out; and two places are told apart if any camera can.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from diff2i2p_core.geometry.camera_matches import CameraMatches
from diff2i2p_core.geometry.covariance import covariance_at, fused
from diff2i2p_core.geometry.pnp import NoPose
from diff2i2p_core.localization.aligner import Align
from diff2i2p_core.localization.alignment import Alignment
from diff2i2p_core.localization.gates import contributing, is_same_pose, rejection, rivals
from diff2i2p_core.localization.ranking import by_strength, is_alone
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.localization.rig_gates import subsets_of
from diff2i2p_core.localization.rig_query import RigHypothesis, RigQuery
from diff2i2p_core.localization.rig_result import RigLocalization
from diff2i2p_core.localization.settings import GateSettings, LocalizerSettings
from diff2i2p_core.localization.verify import agrees_with_colors, calibrated, gates_for, unsure
from diff2i2p_core.typing import Array


def verify_rig(
    rig: RigQuery,
    hypotheses: Sequence[RigHypothesis],
    aligns: Sequence[Align] = (),
    *,
    searched: bool = False,
) -> RigLocalization:
    """As `verify.verify`, for the body. `aligns`: one per camera, if the map has colours."""
    ranked = by_strength(hypotheses, rig.settings.gates)
    prior = rig.prior if all(hypothesis.near_prior for hypothesis in hypotheses) else None
    answer = _by_inliers(ranked, rig, prior, searched)
    rig.clock.spent("pose")
    if aligns and not (answer.localized and ranked[0].settled):
        confirmed = _Confirmed.first(ranked, rig, prior, aligns)
        if confirmed is not None:
            answer = confirmed.answer("" if prior is not None else confirmed.second_place(ranked))
        rig.clock.spent("align")
    return replace(answer, latency_ms=dict(rig.clock.ms))


def _by_inliers(
    ranked: Sequence[RigHypothesis], rig: RigQuery, prior: Array | None, searched: bool
) -> RigLocalization:
    best, settings = ranked[0], rig.settings
    estimate, total = best.estimate, sum(best.totals)
    if isinstance(estimate, NoPose):
        gates = gates_for(settings, settled=best.settled, agreement=best.agreement)
        few = rejection(total, 0, 0.0, 0.0, gates) if total < gates.min_correspondences else ""
        return _answer(rig, best, None, None, few or estimate.reason)
    pose = estimate.map_from_body
    agrees = prior is not None and is_same_pose(prior, pose, settings.gates)
    supporting = best.supporting(settings, near=agrees)
    used = supporting if any(supporting) else [True] * len(supporting)
    alone = searched and prior is None and is_alone(ranked, settings.gates, settings.views.alone_rival)
    reasons = [
        subset.rejection(best, settings, agrees=agrees, alone=alone)
        for subset in subsets_of(best, estimate, used)
    ]
    reason = reasons[0] if all(reasons) else ""
    count, inliers = (sum(np.array(numbers)[used]) for numbers in (best.totals, best.counts))
    # More cameras do not average out what is wrong for all of them: the map, and how they are mounted.
    covariance = sum(used) * calibrated(estimate.covariance, count / inliers, settings, settled=best.settled)
    if not reason and best.settled and not agrees:
        reason = unsure(best.doubt, covariance, settings.views.max_sigma)
    if not reason and prior is None:
        reason = _rival(ranked, settings)
    return _answer(rig, best, pose, covariance, reason, supporting if best.agreements else None)


def _rivals(
    pose: Array, ranked: Sequence[RigHypothesis], gates: GateSettings, settings: LocalizerSettings
) -> Iterator[RigHypothesis]:
    """Hypotheses with another pose and nearly as much support, which no camera alone refutes."""
    for other in rivals(pose, ranked[0].strength, ranked, gates):
        if not _refutes(ranked[0], other, gates, settings):
            yield other


def _refutes(
    best: RigHypothesis, other: RigHypothesis, gates: GateSettings, settings: LocalizerSettings
) -> bool:
    """Whether a camera alone prefers one pose clearly, and none the other."""

    def preferred(one: RigHypothesis, two: RigHypothesis) -> bool:
        judges = one.supporting(settings) if one.agreements else [True] * len(one.counts)
        return any(
            judge and count >= gates.min_inliers and theirs <= gates.max_rival_support * mine
            for judge, count, mine, theirs in zip(
                judges, one.counts, one.strengths, two.strengths, strict=True
            )
        )

    return preferred(best, other) and not preferred(other, best)


def _rival(ranked: Sequence[RigHypothesis], settings: LocalizerSettings) -> str:
    best = ranked[0]
    assert best.map_from_body is not None
    gates = gates_for(settings, settled=best.settled, agreement=best.agreement)
    for other in _rivals(best.map_from_body, ranked, gates, settings):
        return f"ambiguous ({other.source} has {other.support} inliers for another pose)"
    return ""


class _Confirmed:
    """A pose of the body that the colours of some images confirm."""

    def __init__(
        self, rig: RigQuery, best: RigHypothesis, aligns: Sequence[Align], found: dict[int, Alignment]
    ) -> None:
        """`found`: the alignments that agree, by number of the camera."""
        self._rig, self._best, self._aligns, self._found = rig, best, aligns, found
        self.pose, self.covariance = _fused(rig, found)

    @classmethod
    def first(
        cls, ranked: Sequence[RigHypothesis], rig: RigQuery, prior: Array | None, aligns: Sequence[Align]
    ) -> _Confirmed | None:
        """From the most likely start after which the colours agree."""
        starts = [] if prior is None else [prior]
        starts += [h.map_from_body for h in ranked if h.map_from_body is not None]
        for start in starts:
            found = _agreeing(start, rig, aligns)
            if found:
                return cls(rig, ranked[0], aligns, found)
        return None

    def second_place(self, ranked: Sequence[RigHypothesis]) -> str:
        """Why the pose is ambiguous: all these images look like another place as well. "" if they do not."""
        settings = self._rig.settings
        gates = settings.gates
        for other in _rivals(self.pose, ranked, gates, settings):
            assert other.map_from_body is not None
            elsewhere = _agreeing(other.map_from_body, self._rig, self._aligns)
            if set(self._found) <= set(elsewhere):
                pose, _ = _fused(self._rig, elsewhere)
                if not is_same_pose(pose, self.pose, gates):
                    return f"ambiguous (the map looks like the images near {other.source} as well)"
        return ""

    def answer(self, reason: str) -> RigLocalization:
        covariance = self.covariance * self._rig.settings.aligned_sigma_scale**2
        answer = _answer(self._rig, self._best, self.pose, covariance, reason)
        names = {self._rig.cameras[number].name for number in self._found}
        agreement = max(alignment.agreement for alignment in self._found.values())
        together = tuple(name for name in answer.cameras if name in {*names, *answer.contributing})
        return replace(answer, agreement=agreement, contributing=together)


def _agreeing(start: Array, rig: RigQuery, aligns: Sequence[Align]) -> dict[int, Alignment]:
    """The alignments, from a pose of the body, after which an image agrees with the map."""
    found = {}
    for number, (mounted, align) in enumerate(zip(rig.cameras, aligns, strict=True)):
        alignment = align(start @ mounted.body_from_camera)
        if alignment is not None and agrees_with_colors(alignment, rig.settings.gates):
            found[number] = alignment
    return found


def _fused(rig: RigQuery, found: dict[int, Alignment]) -> tuple[Array, Array]:
    """The body's pose from alignments of its cameras, weighted by their covariances, and its covariance.
    Alignments that contradict the best one are left out."""
    order = sorted(found, key=lambda number: -found[number].agreement)
    poses = list[tuple[Array, Array]]()
    for number in order:
        of_camera = found[number].map_from_camera
        pose = rig.body_pose(number, of_camera)
        if not poses or is_same_pose(pose, poses[0][0], rig.settings.gates):
            lever = pose[:3, 3] - of_camera[:3, 3]
            poses.append((pose, covariance_at(found[number].covariance, lever)))
    return fused(poses)


def _answer(
    rig: RigQuery,
    best: RigHypothesis,
    pose: Array | None,
    covariance: Array | None,
    reason: str,
    supporting: Sequence[bool] | None = None,
) -> RigLocalization:
    """The answer for a pose of the body, with the matches of `best`. Without a pose if there is a reason.
    `supporting`: which cameras support it, if its matches do not tell."""
    agreements = best.agreements or (0.0,) * len(rig.cameras)
    cameras = {
        mounted.name: replace(_share(matches, pose, covariance, reason, best.matcher), agreement=agreement)
        for mounted, matches, agreement in zip(rig.cameras, best.matches, agreements, strict=True)
    }
    if supporting is None:
        ratio = gates_for(rig.settings, settled=best.settled).min_inlier_ratio
        shares = cameras.values()
        supporting = contributing(
            [share.num_inliers for share in shares], [share.num_correspondences for share in shares], ratio
        )
    used = np.array(supporting)
    return RigLocalization(
        localized=not reason,
        reason=reason,
        map_from_body=None if reason else pose,
        covariance=None if reason else covariance,
        cameras=cameras,
        contributing=tuple(name for name, use in zip(cameras, used, strict=True) if use),
        agreement=max(np.array(agreements)[used], default=0.0),
        matcher=best.matcher,
    )


def _share(
    matches: CameraMatches, pose: Array | None, covariance: Array | None, reason: str, matcher: str
) -> Localization:
    """One camera's part of the answer."""
    count = len(matches.pixels)
    empty = replace(Localization.refused(reason), num_correspondences=count, matcher=matcher)
    if pose is None or covariance is None:
        return empty
    inliers, residual = matches.inliers_at(pose)
    num_inliers = int(inliers.sum())
    squared = (residual[inliers] ** 2).sum(axis=1)
    map_from_camera = pose @ matches.body_from_camera
    lever = map_from_camera[:3, 3] - pose[:3, 3]
    return replace(
        empty,
        localized=not reason,
        map_from_camera=None if reason else map_from_camera,
        covariance=None if reason else covariance_at(covariance, lever),
        num_inliers=num_inliers,
        inlier_ratio=num_inliers / max(count, 1),
        reprojection_error_px=float(np.sqrt(squared.mean())) if num_inliers else 0.0,
        inlier_pixels=matches.pixels[inliers],
        inlier_points=matches.points[inliers],
    )
