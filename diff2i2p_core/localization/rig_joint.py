"""Joins what a proposer finds for each camera of a rig to poses of the body."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest

import numpy as np

from diff2i2p_core.geometry.rig_pnp import solve_rig_pnp
from diff2i2p_core.localization.depth_verification import answer_by_fit
from diff2i2p_core.localization.hypothesis import Hypothesis, Proposer
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.rig_query import Candidate, RigHypothesis, RigQuery


def propose_jointly(proposer: Proposer, rig: RigQuery) -> Iterator[list[RigHypothesis]]:
    """Hypotheses in groups, the most promising first: the proposer's for each camera that has the depth it
    needs, each of them joined with those of the other cameras that agree best with its pose."""
    found: list[list[Hypothesis]] = [[] for _ in rig.queries]
    proposals = [
        proposer.propose(query) if can_propose(proposer, query) else iter(()) for query in rig.queries
    ]
    for groups in zip_longest(*proposals, fillvalue=()):
        credible = []
        for query, known, group in zip(rig.queries, found, groups, strict=True):
            credible.append(_credible(query, group))
            known += credible[-1]
        joint = [
            joined(rig, Candidate.of(rig, camera, hypothesis), found)
            for camera, group in enumerate(credible)
            for hypothesis in group
        ]
        if joint:
            yield joint


def can_propose(proposer: Proposer, query: Query) -> bool:
    """Whether the query has what the proposer needs."""
    return query.depth is not None or not proposer.needs_depth


def _credible(query: Query, group: Sequence[Hypothesis]) -> list[Hypothesis]:
    """All but registrations of depth that do not fit: their matches agree with their pose in any case."""
    fits = [hypothesis for hypothesis in group if hypothesis.fit is not None]
    if not fits:
        return list(group)
    if not answer_by_fit(fits, query).localized:
        return []
    return [max(fits, key=lambda hypothesis: hypothesis.fit.quality if hypothesis.fit else 0.0)]


def joined(rig: RigQuery, candidate: Candidate, found: Sequence[Sequence[Hypothesis]]) -> RigHypothesis:
    """A camera's hypothesis together with matches of the other cameras, from those `found` for each."""
    own, pose = candidate.hypothesis, candidate.map_from_body
    matches = []
    for camera, query in enumerate(rig.queries):
        hypotheses = [own] if camera == candidate.camera else found[camera] if pose is not None else []
        limit = rig.settings.inlier_px(query.camera)
        options = [rig.matches(camera, h.pixels, h.points, limit) for h in hypotheses]
        options.append(rig.matches(camera, np.empty((0, 2)), np.empty((0, 3)), limit))
        if pose is not None:
            options.sort(key=lambda each: -int(each.inliers_at(pose)[0].sum()))
        matches.append(options[0])
    settings = replace(rig.settings.pnp, max_error_px=rig.settings.max_error_px)
    estimate = solve_rig_pnp(matches, settings)
    rig.clock.spent("pose")
    source = candidate.source(rig)
    return RigHypothesis(own.matcher, source, tuple(matches), estimate, own.near_prior, own.settled)
