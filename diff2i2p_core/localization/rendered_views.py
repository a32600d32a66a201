"""Proposes poses from views rendered from the map, matched with pre-trained local features.

Nothing here is trained on the place: XFeat finds the same points in a photo and in a rendered view. The views
stored in the map give an approximate pose. Then the map is rendered from this pose with the query's camera
and matched again, so that both images look alike. The inliers of this match distinguish right from wrong
poses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from diff2i2p_core.geometry.pnp import NoPose, PnpSettings, PoseEstimate, solve_pnp
from diff2i2p_core.geometry.se3 import invert, transform_points
from diff2i2p_core.localization.beside import side_by_side, spread
from diff2i2p_core.localization.hypothesis import Hypothesis
from diff2i2p_core.localization.intensity_alignment import IntensityAlignment, IntensityTarget
from diff2i2p_core.localization.near_matches import search_near
from diff2i2p_core.localization.pose_search import Surroundings
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.rendering_again import in_groups, rendered_again, rested, searched
from diff2i2p_core.localization.retrieval import near_prior
from diff2i2p_core.localization.view_matching import ViewMatching, pixels_in_image
from diff2i2p_core.localization.view_ranking import by_value, likely_views, ranked_views
from diff2i2p_core.localization.votes import Votes
from diff2i2p_core.mapping.describe import GridFeatures, describe_grid
from diff2i2p_core.mapping.packed_views import ViewFeatures
from diff2i2p_core.mapping.view_map import ViewMap
from diff2i2p_core.models.inputs import resized
from diff2i2p_core.models.view_networks import PictureNetworks, ViewNetworks
from diff2i2p_core.models.xfeat import Keypoints, dense_features, detect
from diff2i2p_core.typing import Array

_ROUGH_ITERATIONS = 150
"""Of RANSAC, for the order of views. Measured: with 1000, the order is no better."""


class RenderedViews:
    """Proposes poses from a map's views, and from renders of its cloud."""

    name = "views"
    needs_depth = False

    def __init__(self, networks: ViewNetworks, view_map: ViewMap) -> None:
        self.matching, self.device = ViewMatching(networks, view_map), networks.device
        there = {name: getattr(view_map.views, name).to(self.device) for name in ("signatures", "words")}
        self.views = replace(view_map.views, **there)

    def propose(self, query: Query) -> Iterator[list[Hypothesis]]:
        """With a prior: a render from it, then the views around it. Without: views that look like the image,
        with the best poses rendered again; then the less likely ones, one by one."""
        settings = query.settings.views
        if query.prior is not None:
            guided = self.matching.look.unlike_photos
            if guided:  # describes the image in its own way
                yield [self._guided(query, query.prior)]
            else:
                yield [self._rendered(query, query.prior, "the prior", near=True)]
            limits = query.settings.prior_distance, query.settings.prior_angle_deg
            near = near_prior(self.views.poses, query.prior, *limits)[: settings.likely]
            if near and guided:
                return
            if near:
                matched = self.matched(query, self.matching.features(query), near)
                yield from self._refined(query, matched, near=True)
                return
        features = self.matching.features(query)
        votes = None if features.dense is None else Votes()
        if query.suggested and votes is not None:
            matched_from = partial(self._matched_from, query, "a suggested pose", -1)
            # they are exact, so nothing is searched
            suggested = [rendered_again(settings, pose, matched_from) for pose in query.suggested]
            yield [replace(hypothesis, votes=votes) for hypothesis in suggested]
        ranked = self.ranked(query, features)
        likely = ranked[: settings.likely]
        matched = self.matched(query, features, likely, votes, until=settings.clear_inliers)
        others = [views for views in (likely[len(matched) :], ranked[len(likely) :]) if views]
        best = max((hypothesis.strength for hypothesis in matched), default=0.0)
        if not others or best >= settings.early_strength:
            yield from self._refined(query, matched, few=True)
        for views in others:
            more = self.matched(query, features, views, votes)
            # votes may have shown that one of those before is right
            matched = more if votes is None else [*matched, *more]
            yield from self._refined(query, matched)

    def ranked(self, query: Query, features: Keypoints) -> list[int]:
        """The views to match with an image with these features, most likely first."""
        settings = query.settings.views
        if not settings.rough_features:
            ranked = ranked_views(self.views, features.descriptors, settings)
            query.clock.spent("retrieve")
            return ranked[: settings.candidates]
        likely = likely_views(self.views, features.descriptors, settings)
        query.clock.spent("retrieve")
        strengths = spread(partial(self._rough_strengths, query, features), likely, self.device)
        return by_value(likely, strengths)[: settings.candidates]

    def _rough_strengths(self, query: Query, features: Keypoints, views: Sequence[int]) -> list[float]:
        """Those of the poses from the strongest features of the image and of each view."""
        few = query.settings.views.rough_features
        image = features.strongest(few)
        pnp = replace(query.settings.pnp, max_iterations=_ROUGH_ITERATIONS)
        strengths = []
        for view in views:
            seen = self.views[view].strongest(few)
            hypothesis = self._solved(query, image, seen, "", view, pnp)
            strengths.append(self._compared(query, image, seen, hypothesis).strength)
        return strengths

    def _guided(self, query: Query, prior: Array) -> Hypothesis:
        """The pose near the prior, from matches around the predicted pixels."""
        matching = self.matching
        assert isinstance(matching.networks, PictureNetworks), "renders unlike photos are pictures, too"
        network = matching.networks.network
        settings = self.views.settings
        camera = settings.resampled(query.camera)
        image = resized(query.image, camera)
        keypoints = detect(dense_features(network, image), query.settings.near.keypoints)
        query.clock.spent("image")
        depths = settings.min_depth, settings.max_depth

        def describe(pose: Array) -> GridFeatures:
            view = describe_grid(matching.cloud, matching.spacing, pose, camera, settings, network)
            query.clock.spent("render")
            return view

        def align(pose: Array) -> IntensityAlignment | None:
            target = query.computed("intensity", lambda: IntensityTarget(query.image, query.camera))
            aligned = target.align(matching.cloud.seen(invert(pose), camera, depths), pose, depths)
            query.clock.spent("align")
            return aligned

        shows_intensity = matching.cloud.cloud.intensity is not None and query.settings.align
        near = query.settings.near
        matches = search_near(keypoints, camera, prior, near, describe, align if shows_intensity else None)
        query.clock.spent("match")
        pixels = pixels_in_image(torch.from_numpy(matches.pixels), camera, query).numpy()
        return Hypothesis(
            self.name,
            "the prior",
            pixels,
            matches.points,
            matches.estimate,
            near_prior=True,
            guided=True,
            alignment=matches.alignment,
        )

    def matched(
        self,
        query: Query,
        features: Keypoints,
        views: Sequence[int],
        votes: Votes | None = None,
        until: int | None = None,
    ) -> list[Hypothesis]:
        """A hypothesis for each of the views, in order, `until` one is this strong. Their poses are added to
        `votes`."""
        hypotheses = []
        for hypothesis in side_by_side(lambda view: self._of_view(query, features, view), views, self.device):
            hypotheses.append(replace(hypothesis, votes=votes))
            if votes is not None and hypothesis.map_from_camera is not None:
                votes.add(hypothesis.map_from_camera, hypothesis.strength)
            if until is not None and hypothesis.strength >= until:
                break
        return hypotheses

    def _of_view(self, query: Query, features: Keypoints, view: int) -> Hypothesis:
        seen = self.views[view]
        hypothesis = self._solved(query, features, seen, f"view {view}", view)
        return self._compared(query, features, seen, hypothesis)

    def _refined(
        self, query: Query, matched: Sequence[Hypothesis], near: bool = False, *, few: bool = False
    ) -> Iterator[list[Hypothesis]]:
        """The best hypotheses, rendered again. The first group has the best one, and those with another
        pose that are nearly as strong. Each further group has one more. `few`: not enough views are matched
        for votes to count."""
        ranked = sorted(matched, key=lambda h: -(h.strength if few else h.standing))
        groups = in_groups(ranked, query.settings, near=near)
        if not groups:
            yield list(matched)  # so that the answer can report the low support
            return
        for group in groups:
            yield [self._again(query, hypothesis, near) for hypothesis in group]

    def _again(self, query: Query, hypothesis: Hypothesis, near: bool) -> Hypothesis:
        pose = hypothesis.map_from_camera
        assert pose is not None
        source, view = hypothesis.source, hypothesis.submap
        # when votes change the order, poses that were rendered before are among the best again
        again = query.computed(f"{source} again", lambda: self._rendered(query, pose, source, near, view))
        return replace(again, votes=hypothesis.votes)

    def _rendered(
        self, query: Query, pose: Array, source: str, near: bool = False, view: int = -1
    ) -> Hypothesis:
        """Render from `pose` (map_from_camera) with the query's camera, match, solve, and repeat. If images
        can be compared with renders, and it is not `near` a prior, then search around the pose."""
        search: Callable[[Hypothesis], Hypothesis] | None = None
        if self.matching.look.compared and not near:
            search = partial(self._searched, query, source, view)
        matched_from = partial(self._matched_from, query, source, view)
        found = rendered_again(query.settings.views, pose, matched_from, search)
        return replace(found, near_prior=near)

    def _matched_from(self, query: Query, source: str, view: int, pose: Array) -> Hypothesis:
        """The hypothesis of a render."""
        image, seen = self.matching.image_and_view(query, pose)
        hypothesis = self._solved(query, image, seen, source, view)
        return self._compared(query, image, seen, replace(hypothesis, settled=True))

    def _searched(self, query: Query, source: str, view: int, hypothesis: Hypothesis) -> Hypothesis:
        """The hypothesis of a render from the best pose around this one's."""
        settings = query.settings.views

        def matched_from(pose: Array) -> Hypothesis:
            query.clock.spent("search")
            return rested(settings, pose, partial(self._matched_from, query, source, view), 1)

        pose = hypothesis.map_from_camera
        assert pose is not None, "only poses are searched around"
        found = searched(settings, pose, self._around(query, hypothesis), matched_from, lambda h: h.pose)
        query.clock.spent("search")
        return found

    def _around(self, query: Query, hypothesis: Hypothesis) -> Surroundings:
        """How much the map looks like the image from poses around the hypothesis's."""
        estimate = hypothesis.estimate
        assert isinstance(estimate, PoseEstimate)
        away = transform_points(estimate.camera_from_points, hypothesis.points[estimate.inliers])[:, 2]
        camera = self.views.settings.resampled(query.camera)
        compare = partial(self.matching.likeness, query)
        return Surroundings(compare, float(np.median(away)), camera, self.device)

    def _solved(
        self,
        query: Query,
        image: Keypoints,
        view: ViewFeatures,
        source: str,
        number: int,
        pnp: PnpSettings | None = None,
    ) -> Hypothesis:
        pixels, points, likeness = self.matching.matches(query, image, view)
        pnp = replace(pnp or query.settings.pnp, max_error_px=self.matching.inlier_px(query))
        estimate = solve_pnp(pixels, points, query.camera, likeness, pnp)
        query.clock.spent("pose")
        return Hypothesis(self.name, source, pixels, points, estimate, submap=number)

    def _compared(
        self, query: Query, image: Keypoints, view: ViewFeatures, hypothesis: Hypothesis
    ) -> Hypothesis:
        """With the agreement of the image with the view at the pose, if there are dense features for it."""
        estimate = hypothesis.estimate
        if isinstance(estimate, NoPose):
            return hypothesis
        agreement = self.matching.agreement(query, image, view, estimate.camera_from_points)
        return replace(hypothesis, agreement=agreement)
