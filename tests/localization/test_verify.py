"""One answer from several hypotheses: one that the map's colours confirm is preferred to more inliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.pnp import NoPose, PoseEstimate
from diff2i2p_core.geometry.se3 import compose, invert, transform_points, translation_error
from diff2i2p_core.localization.alignment import Alignment
from diff2i2p_core.localization.depth_cells import Comparison
from diff2i2p_core.localization.depth_registration import DepthFit
from diff2i2p_core.localization.hypothesis import Hypothesis
from diff2i2p_core.localization.query import Query
from diff2i2p_core.localization.rendering_again import RESTLESS, is_last_render
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.localization.verify import verify
from diff2i2p_core.localization.votes import Votes
from diff2i2p_core.typing import Array

CAMERA = Camera(640, 480, 550, 550, 319.5, 239.5)
IMAGE = np.zeros((480, 640, 3), np.uint8)
SETTINGS = LocalizerSettings(aligned_sigma_scale=3.0)
HERE = compose(np.eye(3), [0, 0, 0])
THERE = compose(np.eye(3), [6, 0, 0])


def hypothesis(pose: Array, inliers: int, count: int = 400, submap: int = 0) -> Hypothesis:
    """`inliers` true matches of a pose, spread over the image, and wrong ones."""
    rng = np.random.default_rng(submap)
    pixels = rng.uniform([0, 0], [640, 480], (count, 2))
    rays = np.column_stack([(pixels - [319.5, 239.5]) / 550, np.ones(count)])
    points = transform_points(pose, rays * rng.uniform(1, 4, (count, 1)))
    points[inliers:] += rng.uniform(2, 4, (count - inliers, 3))
    estimate = PoseEstimate(
        camera_from_points=invert(pose),
        inliers=np.arange(count) < inliers,
        num_inliers=inliers,
        reprojection_error_px=1.0,
        covariance=np.eye(6) * 1e-4,
    )
    return Hypothesis("network", f"submap {submap}", pixels, points, estimate, submap=submap)


class Colors:
    """An alignment that finds the true places near its start; remembers its starts."""

    def __init__(self, *places: Array, agreement: float = 0.95, coverage: float = 0.7) -> None:
        self.places, self.starts = places, list[Array]()
        self.agreement, self.coverage = agreement, coverage

    def __call__(self, start: Array) -> Alignment | None:
        self.starts.append(start)
        near = [place for place in self.places if translation_error(place, start) < 0.8]
        return Alignment(near[0], np.eye(6) * 1e-6, self.agreement, self.coverage) if near else None


def ask(
    hypotheses: Sequence[Hypothesis], colors: Colors | None = None, prior: Array | None = None
) -> Localization:
    query = Query(IMAGE, CAMERA, SETTINGS, prior=prior)
    near = [replace(hypothesis, near_prior=prior is not None) for hypothesis in hypotheses]
    return verify(query, near, colors)


def test_confirmed_by_colour_few_inliers_are_enough_and_the_pose_is_the_aligned_one() -> None:
    rough = compose(np.eye(3), [0.3, 0, 0])
    alone = ask([hypothesis(rough, 70)])
    assert not alone.localized and alone.reason.startswith("low inlier ratio")
    found = ask([hypothesis(rough, 70)], Colors(HERE))
    assert found.localized and found.agreement == 0.95 and found.submap == 0
    np.testing.assert_array_equal(found.map_from_camera, HERE)
    assert found.covariance is not None and np.allclose(found.covariance, 9e-6 * np.eye(6))
    assert found.num_correspondences == 400 and found.num_inliers < 70  # of the aligned pose


@pytest.mark.parametrize("colors", [Colors(HERE, agreement=0.5), Colors(HERE, coverage=0.2), Colors(THERE)])
def test_without_agreement_the_inliers_decide(colors: Colors) -> None:
    found = ask([hypothesis(HERE, 300)], colors)
    assert found.localized and found.agreement == 0 and len(colors.starts) == 1
    assert ask([hypothesis(HERE, 70)], colors).reason.startswith("low inlier ratio")


def test_a_weaker_hypothesis_that_the_colours_confirm_wins() -> None:
    found = ask([hypothesis(THERE, 150, submap=1), hypothesis(HERE, 90, submap=2)], Colors(HERE))
    assert found.localized and found.map_from_camera is not None
    assert translation_error(found.map_from_camera, HERE) == 0


def test_two_places_that_look_alike_are_ambiguous_unless_a_prior_decides() -> None:
    both = [hypothesis(HERE, 300, submap=1), hypothesis(THERE, 290, submap=2)]
    colors = Colors(HERE, THERE)
    found = ask(both, colors)
    assert not found.localized and found.map_from_camera is None and found.covariance is None
    assert found.reason == "ambiguous (the map looks like the image near submap 2 as well)"
    assert ask(both, Colors(HERE)).localized  # inliers alone would have been ambiguous
    assert ask(both).reason.startswith("ambiguous (submap 2 has 290 inliers")
    colors.starts.clear()
    found = ask(both, colors, prior=THERE)
    assert found.localized and found.map_from_camera is not None
    np.testing.assert_array_equal(found.map_from_camera, THERE)
    assert len(colors.starts) == 1  # the prior comes first


@pytest.mark.parametrize(("support", "ambiguous"), [(200, False), (220, True)])
def test_a_rival_needs_seven_tenths_of_the_inliers(support: int, ambiguous: bool) -> None:
    both = [hypothesis(HERE, 300, submap=1), hypothesis(THERE, support, submap=2)]
    assert ask(both).localized is not ambiguous
    assert ask(both, Colors(HERE, THERE)).localized is not ambiguous


def test_a_prior_alone_can_be_confirmed_where_nothing_matches() -> None:
    nothing = replace(hypothesis(HERE, 30), estimate=NoPose("too few correspondences"))
    assert not ask([nothing], Colors(HERE)).localized
    assert ask([nothing], Colors(HERE), prior=HERE).localized


@pytest.mark.parametrize(
    ("inliers", "anywhere", "near"), [(300, True, True), (190, False, True), (130, False, False)]
)
def test_matches_of_shapes_need_fewer_inliers_where_a_prior_agrees(
    inliers: int, anywhere: bool, near: bool
) -> None:
    settings = SETTINGS.for_look("geometry")
    settled = replace(hypothesis(HERE, inliers), settled=True, near_prior=True)
    beside = compose(np.eye(3), [0.2, 0, 0])
    for prior, accepted in ((None, anywhere), (beside, near), (THERE, anywhere)):
        assert verify(Query(IMAGE, CAMERA, settings, prior=prior), [settled]).localized is accepted


@pytest.mark.parametrize(
    ("agreement", "anywhere", "near"), [(0.5, True, True), (0.42, False, True), (0.3, False, False)]
)
def test_fewer_still_are_enough_where_most_features_are_as_predicted(
    agreement: float, anywhere: bool, near: bool
) -> None:
    settings = SETTINGS.for_look("geometry")
    settled = replace(hypothesis(HERE, 130, 250), settled=True, near_prior=True, agreement=agreement)
    answer = verify(Query(IMAGE, CAMERA, settings), [settled])
    assert answer.localized is anywhere and answer.agreement == agreement
    assert verify(Query(IMAGE, CAMERA, settings, prior=HERE), [settled]).localized is near
    mostly_wrong = replace(hypothesis(HERE, 150, 400), settled=True, near_prior=True, agreement=agreement)
    assert not verify(Query(IMAGE, CAMERA, settings, prior=HERE), [mostly_wrong]).localized
    few = replace(hypothesis(HERE, 90), settled=True, agreement=0.9)
    assert not verify(Query(IMAGE, CAMERA, settings), [few]).localized


def test_a_pose_that_stands_alone_after_the_whole_search_is_enough() -> None:
    settings = SETTINGS.for_look("geometry")
    votes = Votes()
    votes.add(HERE, 50.0)
    weak = replace(hypothesis(HERE, 340, submap=1), settled=True, agreement=0.4, votes=votes)
    other = replace(hypothesis(THERE, 150, submap=2), settled=True, agreement=0.25, votes=votes)
    query = Query(IMAGE, CAMERA, settings)
    assert verify(query, [weak, other]).reason.startswith("low agreement")
    assert verify(query, [weak, other], searched=True).localized
    rival = replace(other, agreement=0.5)
    assert not verify(query, [weak, rival], searched=True).localized
    part = replace(weak, pixels=weak.pixels * 0.65)
    assert verify(query, [part, other], searched=True).localized
    unvoted = replace(part, votes=Votes())
    assert verify(query, [unvoted, other], searched=True).reason.startswith("weak")
    corner = replace(weak, pixels=weak.pixels * 0.5)
    assert verify(query, [corner, other], searched=True).reason.startswith("low coverage")


def test_of_two_places_the_image_agrees_with_one() -> None:
    settings = SETTINGS.for_look("geometry")
    right = replace(hypothesis(HERE, 250, submap=1), settled=True, agreement=0.6)
    wrong = replace(hypothesis(THERE, 300, submap=2), settled=True, agreement=0.25)
    answer = verify(Query(IMAGE, CAMERA, settings), [wrong, right])
    assert answer.localized and answer.submap == 1
    alike = replace(wrong, agreement=0.5)
    assert verify(Query(IMAGE, CAMERA, settings), [alike, right]).reason.startswith("ambiguous")


def test_inliers_of_shapes_in_a_part_of_the_image_are_refused() -> None:
    settings = SETTINGS.for_look("geometry")
    settled = replace(hypothesis(HERE, 300), settled=True)
    part = replace(settled, pixels=settled.pixels * 0.3)
    assert verify(Query(IMAGE, CAMERA, settings), [settled]).localized
    assert verify(Query(IMAGE, CAMERA, settings), [part]).reason.startswith("low coverage")


def test_a_pose_that_does_not_come_to_rest_is_refused_unless_a_prior_agrees() -> None:
    settings = SETTINGS.for_look("geometry")
    moving = replace(hypothesis(HERE, 390), settled=True, near_prior=True, doubt=RESTLESS)
    assert verify(Query(IMAGE, CAMERA, settings), [moving]).reason.startswith("restless")
    assert verify(Query(IMAGE, CAMERA, settings, prior=HERE), [moving]).localized


def test_a_doubted_pose_gives_way_to_one_that_is_the_same_and_not_doubted() -> None:
    query = Query(IMAGE, CAMERA, SETTINGS.for_look("geometry"))
    moving = replace(hypothesis(HERE, 390, submap=1), settled=True, doubt=RESTLESS)
    same = replace(hypothesis(HERE, 320, submap=2), settled=True)
    answer = verify(query, [moving, same])
    assert answer.localized and answer.submap == 2
    assert verify(query, [moving, replace(same, settled=False)]).reason == RESTLESS
    assert verify(query, [moving, replace(hypothesis(THERE, 380), settled=True)]).reason == RESTLESS


def test_an_uncertain_pose_is_refused() -> None:
    settings = SETTINGS.for_look("geometry")
    settled = replace(hypothesis(HERE, 390), settled=True)
    assert isinstance(settled.estimate, PoseEstimate)
    vague = replace(settled, estimate=replace(settled.estimate, covariance=np.eye(6) * 0.02**2))
    assert verify(Query(IMAGE, CAMERA, settings), [settled]).localized
    assert verify(Query(IMAGE, CAMERA, settings), [vague]).reason.startswith("uncertain")
    assert verify(Query(IMAGE, CAMERA, SETTINGS), [vague]).localized


def test_a_pose_with_many_inliers_rests_sooner() -> None:
    views = SETTINGS.for_look("geometry").views
    for inliers, metres, rests in (
        (300, 0.04, True),
        (300, 0.08, False),
        (150, 0.04, False),
        (40, 0.5, True),
    ):
        assert is_last_render(views, inliers, HERE, compose(np.eye(3), [metres, 0, 0])) is rests


def fitted(pose: Array, *, agreement: float = 0.92, weakest: float = 0.01) -> DepthFit:
    """Depth that fits at a pose, but slides along the map."""
    nothing = np.zeros((0, 3))
    return DepthFit(
        pose,
        Comparison(round(100 * agreement), round(100 - 100 * agreement), 110),
        closeness=0.6,
        likeness=0.5,
        weakest=weakest,
        sliding=(np.zeros(6), np.zeros(3)),
        covariance=np.diag([1e-8, 1e-8, 1e-2, 1e-8, 1e-8, 1e-8]),
        matched=np.zeros(0, bool),
        points=nothing,
        feet=nothing,
    )


@pytest.mark.parametrize(
    ("agreement", "rival", "of_depth", "accepted"),
    [(0.34, 0.1, 0.92, True), (0.15, 0.1, 0.92, False), (0.34, 0.3, 0.92, False), (0.34, 0.1, 0.6, False)],
)
def test_image_and_depth_together_are_enough(
    agreement: float, rival: float, of_depth: float, accepted: bool
) -> None:
    query = Query(IMAGE, CAMERA, SETTINGS.for_look("geometry"))
    best = replace(hypothesis(HERE, 250, submap=1), settled=True, agreement=agreement, votes=Votes())
    other = replace(hypothesis(THERE, 220, submap=2), settled=True, agreement=rival, votes=Votes())
    assert not verify(query, [best, other], searched=True).localized
    answer = verify(
        query, [best, other], None, lambda start: fitted(start, agreement=of_depth), searched=True
    )
    assert answer.localized is accepted
    if accepted:
        assert answer.map_from_camera is not None and answer.depth_agreement == pytest.approx(of_depth)
        assert translation_error(answer.map_from_camera, HERE) < 0.01


def test_exact_depth_wins_over_matches_of_shapes() -> None:
    query = Query(IMAGE, CAMERA, SETTINGS.for_look("geometry"))
    best = replace(hypothesis(HERE, 340, submap=1), settled=True, agreement=0.7, votes=Votes())
    beside = compose(np.eye(3), [0.45, 0, 0])
    firm = replace(fitted(beside, weakest=0.3), covariance=np.eye(6) * 1e-8)
    answer = verify(query, [best], None, lambda start: firm)
    assert answer.localized and answer.map_from_camera is not None
    assert translation_error(answer.map_from_camera, beside) < 0.1
