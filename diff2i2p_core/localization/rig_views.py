"""Proposes poses of a body with several cameras from views rendered from the map.

Any camera's match with a stored view gives an approximate pose. From there the map is rendered for all
cameras, and the pose is solved with the matches of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from diff2i2p_core.geometry.rig_pnp import solve_rig_pnp
from diff2i2p_core.localization.gates import contributing
from diff2i2p_core.localization.hypothesis import Proposer
from diff2i2p_core.localization.rendered_views import RenderedViews
from diff2i2p_core.localization.rendering_again import in_groups, is_last_render, unrest
from diff2i2p_core.localization.retrieval import near_prior
from diff2i2p_core.localization.rig_joint import joined, propose_jointly
from diff2i2p_core.localization.rig_query import Candidate, RigHypothesis, RigQuery
from diff2i2p_core.localization.view_ranking import ranked_views
from diff2i2p_core.typing import Array


def propose_rig(proposer: Proposer, rig: RigQuery) -> Iterator[list[RigHypothesis]]:
    """Hypotheses in groups, the most promising first, with matches of all cameras."""
    if isinstance(proposer, RenderedViews):
        return RigViews(proposer, rig).propose()
    return propose_jointly(proposer, rig)


class RigViews:
    """Searches the rendered views for all images of a rig."""

    def __init__(self, views: RenderedViews, rig: RigQuery) -> None:
        self._views, self._rig = views, rig
        self._settled: dict[str, RigHypothesis] = {}

    def propose(self) -> Iterator[list[RigHypothesis]]:
        """With a prior: renders from it, then the views around it. Without: views that look like an image."""
        rig = self._rig
        if rig.prior is not None:
            yield [self._rendered(rig.prior, "the prior", near=True)]
            limits = rig.settings.prior_distance, rig.settings.prior_angle_deg
            near = []
            for camera, query in enumerate(rig.queries):
                assert query.prior is not None
                around = near_prior(self._views.views.poses, query.prior, *limits)
                near += self._matched(camera, around[: rig.settings.views.candidates])
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
            descriptors = self._views.features(query).descriptors
            ranked = ranked_views(self._views.views, descriptors, settings)[: settings.candidates]
            query.clock.spent("retrieve")
            matched = self._matched(camera, ranked, until=settings.clear_inliers)
            unlikely.append(ranked[len(matched) :])
            found += matched
            is_clear = any(candidate.strength >= settings.clear_inliers for candidate in matched)
            if is_clear and camera + 1 < len(self._rig.queries):
                group = next(self._refined(found))
                best = max(group, key=lambda hypothesis: hypothesis.support)
                if all(contributing(best.counts, best.totals, settings.min_inlier_ratio)):
                    yield group
        yield from self._refined(found)
        others = [
            candidate for camera, views in enumerate(unlikely) for candidate in self._matched(camera, views)
        ]
        if others:
            yield from self._refined(others)

    def _matched(self, camera: int, views: Sequence[int], until: int | None = None) -> list[Candidate]:
        query = self._rig.queries[camera]
        hypotheses = self._views.matched(query, self._views.features(query), views, until=until)
        return [Candidate.of(self._rig, camera, hypothesis) for hypothesis in hypotheses]

    def _refined(self, found: Sequence[Candidate], near: bool = False) -> Iterator[list[RigHypothesis]]:
        """As for a single camera; if no candidate has enough support, the best one."""
        settings = self._rig.settings
        most = settings.views.refined * len(self._rig.queries)
        ranked = sorted(found, key=lambda candidate: -candidate.strength)
        groups = in_groups(ranked, lambda c: c.map_from_body, settings, near=near, most=most)
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
            self._settled[source] = self._rendered(candidate.map_from_body, source, near)
        return self._settled[source]

    def _rendered(self, pose: Array, source: str, near: bool = False) -> RigHypothesis:
        """Render from `pose` (map_from_body) with all cameras, match, solve for the body, and repeat."""
        settings = self._rig.settings
        for _ in range(settings.views.renders):
            hypothesis = self._solved(pose, source, near)
            after = hypothesis.map_from_body
            hypothesis = replace(hypothesis, doubt=unrest(settings.views, pose, after))
            if after is None or is_last_render(settings.views, hypothesis.support, pose, after):
                break
            pose = after
        return hypothesis

    def _solved(self, pose: Array, source: str, near: bool) -> RigHypothesis:
        rig, matches = self._rig, []
        for camera, (mounted, query) in enumerate(zip(rig.cameras, rig.queries, strict=True)):
            features, view = self._views.image_and_view(query, pose @ mounted.body_from_camera)
            pixels, points, likeness = self._views.matches(query, features, view)
            matches.append(rig.matches(camera, pixels, points, self._views.inlier_px(query), likeness))
        pnp = replace(rig.settings.pnp, max_error_px=rig.settings.views.max_error_px)
        estimate = solve_rig_pnp(matches, pnp)
        rig.clock.spent("pose")
        return RigHypothesis(self._views.name, source, tuple(matches), estimate, near, settled=True)
