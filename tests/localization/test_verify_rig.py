"""One answer for several cameras from hypotheses about the body: gates, rivals and colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.pnp import NoPose
from diff2i2p_core.geometry.rig import RigCamera
from diff2i2p_core.geometry.rig_pnp import RigEstimate
from diff2i2p_core.geometry.se3 import compose, exp, transform_points, translation_error
from diff2i2p_core.localization.alignment import Alignment
from diff2i2p_core.localization.rendering_again import RESTLESS
from diff2i2p_core.localization.rig_query import RigHypothesis, RigQuery
from diff2i2p_core.localization.rig_result import RigLocalization
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.localization.verify_rig import verify_rig
from diff2i2p_core.localization.votes import Votes
from diff2i2p_core.typing import Array

CAMERA = Camera(640, 480, 550, 550, 319.5, 239.5)
CAMERAS = [RigCamera("front", CAMERA), RigCamera("left", CAMERA, exp([0, -1.2, 0, -0.2, 0, 0]))]
IMAGES = [np.zeros((480, 640, 3), np.uint8)] * 2
HERE, THERE = np.eye(4), compose(np.eye(3), [6, 0, 0])
SETTINGS = LocalizerSettings(aligned_sigma_scale=3.0)


def rig_query(prior: Array | None = None) -> RigQuery:
    return RigQuery.of(IMAGES, CAMERAS, SETTINGS, prior=prior)


def hypothesis(
    pose: Array, counts: Sequence[int], totals: Sequence[int] = (400, 400), *, settled: bool = True
) -> RigHypothesis:
    """With this number of inliers of each camera, spread over its image, among wrong matches."""
    rig, masks, matches = rig_query(), [], []
    for number, (inliers, total) in enumerate(zip(counts, totals, strict=True)):
        rng = np.random.default_rng(number)
        pixels = rng.uniform([0, 0], [640, 480], (total, 2))
        rays = np.column_stack([(pixels - [319.5, 239.5]) / 550, np.ones(total)])
        camera = pose @ CAMERAS[number].body_from_camera
        points = transform_points(camera, rays * rng.uniform(1, 4, (total, 1)))
        points[inliers:] += rng.uniform(2, 4, (total - inliers, 3))
        matches.append(rig.matches(number, pixels, points, 10.0))
        masks.append(np.arange(total) < inliers)
    estimate = RigEstimate(pose, tuple(masks), sum(counts), 1.0, np.eye(6) * 1e-4)
    return RigHypothesis("views", f"view {counts}", tuple(matches), estimate, settled=settled)


class Colors:
    """Alignments of one camera that find the true places of the body near their start."""

    def __init__(self, camera: int, *places: Array, sigma: float = 1e-3) -> None:
        self._places = [place @ CAMERAS[camera].body_from_camera for place in places]
        self._covariance = np.eye(6) * sigma**2

    def __call__(self, start: Array) -> Alignment | None:
        near = [place for place in self._places if translation_error(place, start) < 0.8]
        return Alignment(near[0], self._covariance, 0.9, 0.7) if near else None


def ask(*hypotheses: RigHypothesis, colors: Sequence[Colors] = ()) -> RigLocalization:
    return verify_rig(rig_query(), hypotheses, colors)


def test_the_matches_of_a_camera_that_sees_nothing_are_left_out_of_the_gate() -> None:
    found = ask(hypothesis(HERE, (90, 6), totals=(300, 400)))
    assert found.localized and found.contributing == ("front",)
    assert found.cameras["left"].num_inliers == 6  # of 700 matches, 96 would be too few
    assert found.num_inliers == 96 and found.num_correspondences == 700


def test_few_inliers_of_each_camera_are_enough_together() -> None:
    assert ask(hypothesis(HERE, (45, 0), totals=(100, 100))).reason.startswith("too few inliers (45")
    found = ask(hypothesis(HERE, (45, 40), totals=(100, 100)))
    assert found.localized and found.contributing == ("front", "left")


def test_more_cameras_do_not_average_out_the_errors_of_the_map() -> None:
    """The covariance is that of one camera with the same estimate, times the number that count."""
    both = ask(hypothesis(HERE, (90, 90), totals=(300, 300)))
    one = ask(hypothesis(HERE, (90, 6), totals=(300, 400)))
    assert both.covariance is not None and one.covariance is not None
    np.testing.assert_allclose(both.covariance, 2 * one.covariance)


def test_a_low_ratio_in_all_images_is_refused() -> None:
    found = ask(hypothesis(HERE, (70, 70)))
    assert found.reason.startswith("low inlier ratio (0.17") and found.contributing == ()
    assert found.map_from_body is None and not found.cameras["front"].localized


def test_a_place_that_explains_both_images_nearly_as_well_is_a_rival() -> None:
    found = ask(hypothesis(HERE, (200, 200)), hypothesis(THERE, (170, 150)))
    assert found.reason.startswith("ambiguous (view (170, 150) has 320 inliers")


def test_one_camera_that_tells_two_places_apart_is_enough() -> None:
    found = ask(hypothesis(HERE, (390, 100)), hypothesis(THERE, (380, 0)))
    assert found.localized and found.map_from_body is not None
    np.testing.assert_array_equal(found.map_from_body, HERE)


def test_cameras_that_contradict_each_other_decide_nothing() -> None:
    found = ask(hypothesis(HERE, (300, 100)), hypothesis(THERE, (100, 290)))
    assert found.reason.startswith("ambiguous")


def test_the_spread_of_inliers_is_that_over_all_images() -> None:
    corner = hypothesis(HERE, (100, 100), totals=(150, 150), settled=False)
    matches = [replace(each, pixels=each.pixels * [0.45, 0.5]) for each in corner.matches]
    one = replace(corner, matches=(matches[0], replace(matches[1], pixels=matches[1].pixels * 0.01)))
    assert ask(one).reason.startswith("low coverage")
    assert ask(replace(corner, matches=tuple(matches))).localized


def test_a_pose_that_does_not_come_to_rest_is_refused_unless_a_prior_agrees() -> None:
    settings = SETTINGS.for_look("geometry")
    moving = replace(hypothesis(HERE, (390, 390)), near_prior=True, doubt=RESTLESS)
    refused = verify_rig(RigQuery.of(IMAGES, CAMERAS, settings), [moving])
    assert refused.reason.startswith("restless")
    assert verify_rig(RigQuery.of(IMAGES, CAMERAS, settings, prior=HERE), [moving]).localized


def test_no_pose_is_refused_with_its_reason() -> None:
    refused = ask(replace(hypothesis(HERE, (5, 5)), estimate=NoPose("no consistent pose")))
    assert refused.reason == "no consistent pose" and refused.cameras["left"].num_correspondences == 400


def test_colours_of_any_camera_confirm_the_pose() -> None:
    rough = compose(np.eye(3), [0.3, 0, 0])
    found = ask(hypothesis(rough, (40, 0)), colors=[Colors(0), Colors(1, HERE)])
    assert found.localized and found.agreement == 0.9 and "left" in found.contributing
    assert found.map_from_body is not None and translation_error(found.map_from_body, HERE) < 1e-9
    assert found.covariance is not None and found.cameras["left"].covariance is not None
    np.testing.assert_allclose(found.cameras["left"].covariance, 9e-6 * np.eye(6), atol=1e-15)


def test_alignments_of_both_cameras_are_weighted_by_their_covariances() -> None:
    off = compose(np.eye(3), [0, 0, 0.05])
    found = ask(hypothesis(HERE, (40, 0)), colors=[Colors(0, HERE), Colors(1, off, sigma=3e-3)])
    assert found.map_from_body is not None
    assert 0.0 < found.map_from_body[2, 3] < 0.01  # a tenth of the weight, at most
    single = ask(hypothesis(HERE, (40, 0)), colors=[Colors(0, HERE), Colors(1)])
    assert found.covariance is not None and single.covariance is not None
    assert np.trace(found.covariance) < np.trace(single.covariance)


@pytest.mark.parametrize("left_knows", [False, True])
def test_a_second_place_must_look_like_all_images(left_knows: bool) -> None:
    places = [HERE] if left_knows else [HERE, THERE]
    found = ask(
        hypothesis(HERE, (40, 10)),
        hypothesis(THERE, (40, 5)),
        colors=[Colors(0, HERE, THERE), Colors(1, *places)],
    )
    assert found.localized == left_knows
    assert left_knows or found.reason.startswith("ambiguous (the map looks like the images near")


def compared(
    pose: Array,
    counts: Sequence[int],
    agreements: tuple[float, float],
    spreads: Sequence[float] = (1.0, 1.0),
    votes: tuple[float, float] = (0.0, 0.0),
) -> RigHypothesis:
    """With images compared with renders, and inliers in these parts of the images."""
    plain = hypothesis(pose, counts)
    matches = [
        replace(each, pixels=each.pixels * [spread, 1])
        for each, spread in zip(plain.matches, spreads, strict=True)
    ]
    found = Votes(), Votes()
    for of_camera, strength in zip(found, votes, strict=True):
        of_camera.add(pose, strength)
    return replace(plain, matches=tuple(matches), agreements=agreements, votes=found)


def judge(*hypotheses: RigHypothesis, searched: bool = False, prior: Array | None = None) -> RigLocalization:
    rig = RigQuery.of(IMAGES, CAMERAS, SETTINGS.for_look("geometry"), prior=prior)
    return verify_rig(rig, hypotheses, searched=searched)


def test_in_maps_of_shapes_cameras_are_judged_by_their_agreement() -> None:
    found = judge(compared(HERE, (200, 200), (0.6, 0.6)))
    assert found.localized and found.contributing == ("front", "left")
    assert found.agreement == found.cameras["left"].agreement == 0.6
    assert judge(compared(HERE, (200, 200), (0.36, 0.36))).reason.startswith("low agreement (0.36")
    assert judge(compared(HERE, (200, 200), (0.6, 0.1))).contributing == ("front",)


def test_in_maps_of_shapes_inliers_in_a_part_of_each_image_are_not_enough() -> None:
    """Those of a wrong pose can be; what they cover is not added up."""
    refused = judge(compared(HERE, (200, 200), (0.6, 0.6), spreads=(0.24, 0.24)))
    assert refused.reason.startswith("low coverage (inliers in 0.25")
    assert judge(compared(HERE, (200, 200), (0.6, 0.6), spreads=(0.8, 0.13))).localized, "one is enough"


def test_in_maps_of_shapes_votes_of_the_views_count() -> None:
    assert judge(compared(HERE, (110, 0), (0.6, 0.0))).reason.startswith("weak (evidence 59")
    assert judge(compared(HERE, (110, 0), (0.6, 0.0), votes=(60, 0))).localized
    elsewhere = compared(HERE, (110, 0), (0.6, 0.0), votes=(0, 60))
    assert judge(elsewhere).reason.startswith("weak"), "those of a camera that sees nothing do not"


def test_in_maps_of_shapes_a_camera_that_sees_little_does_no_harm() -> None:
    good = compared(HERE, (300, 150), (0.36, 0.6), spreads=(0.9, 0.6), votes=(0, 90))
    assert judge(good).localized, "the left one is enough"
    lucky = judge(compared(HERE, (200, 1), (0.6, 1.0)))
    assert lucky.contributing == ("front",) and lucky.agreement == 0.6
    assert judge(compared(HERE, (40, 40), (0.1, 0.1))).contributing == ()


def test_in_maps_of_shapes_only_cameras_that_support_a_pose_tell_places_apart() -> None:
    best, rival = compared(HERE, (250, 200), (0.6, 0.05)), compared(THERE, (240, 100), (0.6, 0.0))
    assert judge(best, rival).reason.startswith("ambiguous")
    assert judge(best, compared(THERE, (100, 240), (0.6, 0.3))).localized


def test_in_maps_of_shapes_less_is_enough_near_a_prior() -> None:
    near = replace(compared(HERE, (250, 40), (0.32, 0.36)), near_prior=True)
    found = judge(near, prior=HERE)
    assert found.localized and found.contributing == ("front", "left")
    away = replace(compared(HERE, (110, 0), (0.6, 0.0)), near_prior=True)
    assert judge(away, prior=compose(np.eye(3), [0.7, 0, 0])).localized


def test_in_maps_of_shapes_less_is_enough_for_a_pose_without_rival() -> None:
    poor, rival = compared(HERE, (280, 0), (0.4, 0.0)), compared(THERE, (100, 100), (0.33, 0.33))
    assert judge(poor).reason.startswith("low agreement")
    assert judge(poor, searched=True).localized
    assert judge(poor, rival, searched=True).reason.startswith("low agreement")


def test_a_doubted_pose_gives_way_to_the_same_without_a_doubt() -> None:
    strong, weaker = compared(HERE, (300, 300), (0.7, 0.7)), compared(HERE, (250, 250), (0.6, 0.6))
    doubted = replace(strong, doubt=RESTLESS)
    assert judge(doubted).reason == RESTLESS
    assert judge(doubted, weaker).localized
    assert judge(doubted, replace(weaker, doubt=RESTLESS)).reason == RESTLESS
