"""Decides whether the cameras of a rig are enough to accept a pose of the body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from diff2i2p_core.geometry.rig_pnp import RigEstimate
from diff2i2p_core.localization.gates import coverage, doubtful, rejection, weak
from diff2i2p_core.localization.rig_query import RigHypothesis
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.localization.verify import gates_for


class Subset(NamedTuple):
    """What some of the cameras have together."""

    matches: int
    inliers: int
    spread: float
    """The fraction of an image that the inliers cover."""
    agreement: float | None
    """Of the images with the renders, if they were compared."""
    evidence: float
    """Strength and votes, times the spread."""

    def rejection(
        self, best: RigHypothesis, settings: LocalizerSettings, *, agrees: bool, alone: bool
    ) -> str:
        """Why to reject the pose of `best`, or "". `agrees`: with a prior; `alone`: it has no rival."""
        views = settings.views
        gates = gates_for(
            settings,
            settled=best.settled,
            near=agrees,
            agreement=self.agreement,
            alone=alone,
        )
        error = best.estimate.reprojection_error_px if isinstance(best.estimate, RigEstimate) else 0.0
        reason = rejection(self.matches, self.inliers, error, 1.0 if agrees else self.spread, gates)
        if reason or self.agreement is None:
            return reason
        reason = doubtful(self.agreement, views, agrees=agrees, alone=alone)
        return reason or ("" if best.near_prior else weak(self.evidence, views.min_evidence))


def subsets_of(best: RigHypothesis, estimate: RigEstimate, used: Sequence[bool]) -> list[Subset]:
    """What is judged of the cameras that are `used`: one of these subsets must be enough.

    If the images were not compared with renders, that is all of them, and the sum of what their inliers
    cover. Else the spread is the mean, because the inliers of a wrong pose can cover a part of each image.
    As a camera that sees little must do no harm, each camera is judged alone, and the one that is covered
    most with the next, the next two, and so on. The subset with the most evidence is first.
    """
    spreads = [
        coverage(each.pixels[inliers], each.camera.width, each.camera.height)
        for each, inliers in zip(best.matches, estimate.inliers, strict=True)
    ]
    cameras = sorted((number for number, use in enumerate(used) if use), key=lambda number: -spreads[number])
    if not best.agreements:
        return [_subset(best, cameras, sum(spreads[camera] for camera in cameras))]
    subsets = [[camera] for camera in cameras] + [cameras[:count] for count in range(2, len(cameras) + 1)]
    judged = [_subset(best, some, sum(spreads[camera] for camera in some) / len(some)) for some in subsets]
    return sorted(judged, key=lambda subset: -subset.evidence)


def _subset(best: RigHypothesis, cameras: Sequence[int], spread: float) -> Subset:
    matches, inliers = (sum(numbers[camera] for camera in cameras) for numbers in (best.totals, best.counts))
    strength = sum(best.strengths[camera] for camera in cameras)
    pose = best.map_from_body
    voted = [] if pose is None else [best.votes[camera].for_pose(pose) for camera in cameras if best.votes]
    agreement = strength / max(inliers, 1) if best.agreements else None
    return Subset(matches, inliers, spread, agreement, (strength + sum(voted)) * spread)
