"""Proposes poses of a body with several cameras from views rendered from the map.

Any camera's match with a stored view gives an approximate pose. From there the map is rendered for all
cameras, and the pose is solved with the matches of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from diff2i2p_core.geometry.rig_pnp import RigEstimate, solve_rig_pnp
from diff2i2p_core.geometry.se3 import invert, transform_points
from diff2i2p_core.localization.hypothesis import Proposer
from diff2i2p_core.localization.pose_search import Likeness, Surroundings
from diff2i2p_core.localization.rendered_views import RenderedViews
from diff2i2p_core.localization.rendering_again import in_groups, rendered_again, rested, searched
from diff2i2p_core.localization.retrieval import near_prior
from diff2i2p_core.localization.rig_joint import joined, propose_jointly
from diff2i2p_core.localization.rig_query import Candidate, RigHypothesis, RigQuery
from diff2i2p_core.localization.votes import Votes
from diff2i2p_core.typing import Array


def propose_rig(proposer: Proposer, rig: RigQuery) -> Iterator[list[RigHypothesis]]:
    """Hypotheses in groups, the most promising first, with matches of all cameras."""
    if isinstance(proposer, RenderedViews):
        return RigViews(proposer, rig).propose()
    return propose_jointly(proposer, rig)


class RigViews:
    """Searches the rendered views for all images of a rig."""

    def __init__(self, views: RenderedViews, rig: RigQuery) -> None:
        self._views, self._matching, self._rig = views, views.matching, rig
        self._settled: dict[str, RigHypothesis] = {}
        self._votes = tuple(Votes() for _ in rig.queries) if self._matching.look.compared else ()

    def propose(self) -> Iterator[list[RigHypothesis]]:
        """With a prior: renders from it, then the views around it. Without: views that look like an image."""
        rig = self._rig
        if rig.prior is not None:
            yield [self.rendered(rig.prior, "the prior", near=True)]
            limits = rig.settings.prior_distance, rig.settings.prior_angle_deg
            near = []
            for camera, query in enumerate(rig.queries):
                assert query.prior is not None
                around = near_prior(self._views.views.poses, query.prior, *limits)
                near += self._matched(camera, around[: rig.settings.views.likely])
            if near:
                yield from self._refined(near, near=True)
                return
        yield from self._anywhere()

    def _anywhere(self) -> Iterator[list[RigHypothesis]]:
        """One camera after the other is searched in the whole map, until all cameras confirm a pose that one
        of them has found. Then the less likely views."""
        settings = self._rig.settings.views
        found: list[Candidate] = []
        unlikely: list[list[int]] = []
        for camera, query in enumerate(self._rig.queries):
            ranked = self._views.ranked(query, self._matching.features(query))
            matched = self._matched(camera, ranked[: settings.likely], until=settings.clear_inliers)
            unlikely.append(ranked[len(matched) :])
            found += matched
            is_clear = any(candidate.strength >= settings.clear_inliers for candidate in matched)
            if is_clear and camera + 1 < len(self._rig.queries):
                group = next(self._refined(found, few=True))
                best = max(group, key=lambda hypothesis: hypothesis.strength)
                if all(best.supporting(self._rig.settings)):
                    yield group
        strongest = max((candidate.strength for candidate in found), default=0.0)
        if not any(unlikely) or strongest >= settings.early_strength:
            yield from self._refined(found, few=True)
        others = [
            candidate for camera, views in enumerate(unlikely) for candidate in self._matched(camera, views)
        ]
        if others:
            # votes may have shown that one of those before is right
            yield from self._refined([*found, *others] if self._votes else others)

    def _matched(self, camera: int, views: Sequence[int], until: int | None = None) -> list[Candidate]:
        query = self._rig.queries[camera]
        hypotheses = self._views.matched(query, self._matching.features(query), views, until=until)
        found = [Candidate.of(self._rig, camera, hypothesis, self._votes) for hypothesis in hypotheses]
        for candidate in found:
            if self._votes and candidate.map_from_body is not None:
                self._votes[camera].add(candidate.map_from_body, candidate.strength)
        return found

    def _refined(
        self, found: Sequence[Candidate], near: bool = False, *, few: bool = False
    ) -> Iterator[list[RigHypothesis]]:
        """As for a single camera; if no candidate has enough support, the best one."""
        settings = self._rig.settings
        most = settings.views.refined * len(self._rig.queries)
        ranked = sorted(found, key=lambda c: -(c.strength if few or near else c.standing))
        groups = in_groups(ranked, settings, near=near, most=most)
        if not groups:
            best = max(found, key=lambda candidate: candidate.support)
            yield [joined(self._rig, best, [[]] * len(self._rig.queries))]  # for the reason
        for group in groups:
            yield [self._again(candidate, near) for candidate in group]

    def _again(self, candidate: Candidate, near: bool) -> RigHypothesis:
        """Rendered from the candidate's pose, once."""
        assert candidate.map_from_body is not None
        source = candidate.source(self._rig)
        if source not in self._settled:
            self._settled[source] = self.rendered(candidate.map_from_body, source, near)
        return self._settled[source]

    def rendered(self, pose: Array, source: str, near: bool = False) -> RigHypothesis:
        """Render from `pose` (map_from_body) with all cameras, match, solve for the body, and repeat. If
        images can be compared with renders, and it is not `near` a prior, then search around the pose."""
        search: Callable[[RigHypothesis], RigHypothesis] | None = None
        if self._matching.look.compared and not near:
            search = partial(self._searched, source)
        found = rendered_again(self._rig.settings.views, pose, partial(self._solved, source), search)
        return replace(found, near_prior=near)

    def _searched(self, source: str, hypothesis: RigHypothesis) -> RigHypothesis:
        """The hypothesis of a render from the best pose around this one's, for all cameras that support it.
        Poses are searched on orbits about what the strongest camera sees."""
        rig, body = self._rig, hypothesis.map_from_body
        assert body is not None, "only poses are searched around"
        leader = int(np.argmax(hypothesis.strengths))
        mount = rig.cameras[leader].body_from_camera

        def matched_from(pose: Array) -> RigHypothesis:
            rig.clock.spent("search")
            return rested(rig.settings.views, pose @ invert(mount), partial(self._solved, source), 1)

        def pose_of(each: RigHypothesis) -> Array | None:
            return None if each.map_from_body is None else each.map_from_body @ mount

        around = self._around(hypothesis, leader)
        found = searched(rig.settings.views, body @ mount, around, matched_from, pose_of)
        rig.clock.spent("search")
        return found

    def _around(self, hypothesis: RigHypothesis, leader: int) -> Surroundings:
        """How much the map looks like the images from poses around that of the camera `leader`."""
        rig, estimate = self._rig, hypothesis.estimate
        assert isinstance(estimate, RigEstimate)
        mount, seen = rig.cameras[leader].body_from_camera, hypothesis.matches[leader]
        strengths = np.array(hypothesis.strengths) * hypothesis.supporting(rig.settings)
        strengths[leader] = hypothesis.strengths[leader]
        weights = strengths / strengths.sum()

        def compare(poses: Sequence[Array]) -> list[Likeness | None]:
            bodies = [pose @ invert(mount) for pose in poses]
            found = {
                camera: self._matching.likeness(
                    rig.queries[camera], [body @ rig.cameras[camera].body_from_camera for body in bodies]
                )
                for camera in np.flatnonzero(weights).tolist()
            }
            values = np.zeros(len(poses))
            for camera, of_camera in found.items():
                values += weights[camera] * np.array([each.value if each else 0.0 for each in of_camera])
            return [
                each._replace(value=float(value)) if each else None
                for each, value in zip(found[leader], values, strict=True)
            ]

        points = seen.points[estimate.inliers[leader]]
        away = transform_points(invert(estimate.map_from_body @ mount), points)[:, 2]
        camera = self._matching.settings.resampled(rig.queries[leader].camera)
        return Surroundings(compare, float(np.median(away)), camera, self._views.device)

    def _solved(self, source: str, pose: Array) -> RigHypothesis:
        rig, matches, seen = self._rig, [], []
        for camera, (mounted, query) in enumerate(zip(rig.cameras, rig.queries, strict=True)):
            features, view = self._matching.image_and_view(query, pose @ mounted.body_from_camera)
            pixels, points, likeness = self._matching.matches(query, features, view)
            matches.append(rig.matches(camera, pixels, points, self._matching.inlier_px(query), likeness))
            seen.append((query, features, view, mounted.body_from_camera))
        pnp = replace(rig.settings.pnp, max_error_px=rig.settings.views.max_error_px)
        estimate = solve_rig_pnp(matches, pnp)
        rig.clock.spent("pose")
        agreements: list[float] = []
        if isinstance(estimate, RigEstimate) and self._matching.look.compared:
            for query, features, view, mount in seen:
                camera_from_map = invert(estimate.map_from_body @ mount)
                agreement = self._matching.agreement(query, features, view, camera_from_map)
                agreements.append(agreement or 0.0)
        return RigHypothesis(
            self._views.name,
            source,
            tuple(matches),
            estimate,
            settled=True,
            agreements=tuple(agreements),
            votes=self._votes,
        )
