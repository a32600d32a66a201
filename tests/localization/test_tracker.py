"""Tracking with a scripted localizer: what is searched near which prior, and which answers are believed."""

from __future__ import annotations

import numpy as np
import pytest
from tracker_rig import CAMERA, HERE, IMAGE, ROOM, TENTH, THERE, Rig

from diff2i2p_core.geometry.se3 import compose, exp, invert, rotation_error_deg, translation_error
from diff2i2p_core.localization.extent import MapExtent
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.typing import Array

MISS = "too few inliers (3, need 60)"


def moved(pose: Array, x: float, degrees: float = 0.0) -> Array:
    """Moved by x metres along the map's x axis, turned about the camera's own y axis."""
    turned = pose @ exp([0, np.radians(degrees), 0, 0, 0, 0])
    turned[0, 3] += x
    return turned


def test_odometry_carries_the_prior() -> None:
    rig = Rig()
    odom_from_map = exp([0, 0, -1.0, 3, 2, 0])
    path = [moved(HERE, 0.1 * i, 3 * i) for i in range(10)]
    for i, truth in enumerate(path):
        found = rig.see(truth, odom=odom_from_map @ truth)
        assert found.localized and found.map_from_camera is truth
        if i:
            assert rig.prior is not None
            np.testing.assert_allclose(rig.prior, truth, atol=1e-9)
    assert (rig.tracker.state, rig.tracker.misses, rig.tracker.prior_used) == ("tracking", 0, True)
    far = moved(path[-1], 3, 90)  # no pose for a minute: odometry still gives the prior
    rig.see(far, odom=odom_from_map @ far, after=60)
    assert rig.prior is not None
    np.testing.assert_allclose(rig.prior, far, atol=1e-9)


def test_a_drifting_odometry_is_corrected_by_each_pose_and_believed_for_a_while() -> None:
    rig = Rig()
    drift = exp([0, 0, 0.02, 0.01, 0, 0])
    odom = np.eye(4)
    truth = HERE
    assert rig.see(truth, odom=odom).localized
    for _ in range(20):
        step = exp([0, 0.03, 0, 0.1, 0, 0])
        truth, odom = truth @ step, odom @ drift @ step
        assert rig.see(truth, odom=odom).localized
    for _ in range(300):  # no pose for 30 m: odometry is no longer trusted
        odom = odom @ exp([0, 0, 0, 0.1, 0, 0])
        rig.see(MISS, odom=odom)
    assert rig.prior is None and rig.tracker.state == "lost" and rig.tracker.misses == 300


def test_constant_velocity_without_odometry() -> None:
    rig = Rig()
    path = [moved(HERE, 0.15 * i, 5 * i) for i in range(6)]
    for i, truth in enumerate(path):
        assert rig.see(truth).localized
        if i >= 2:
            assert rig.prior is not None
            assert translation_error(rig.prior, truth) < 1e-9
            assert rotation_error_deg(rig.prior, truth) < 1e-6
    # The velocity was measured over a tenth of a second, so it is extrapolated that long, then held.
    rig.see(MISS, after=1.0)
    assert rig.prior is not None
    assert translation_error(rig.prior, moved(path[-1], 0.15)) < 1e-9
    rig.see(MISS, after=1.1)
    assert rig.prior is None and rig.tracker.state == "lost"


def test_a_velocity_beyond_belief_is_bounded() -> None:
    rig = Rig(max_speed=1.0, max_turn_rate_deg=90)
    rig.see(HERE)
    rig.see(moved(HERE, 0.4, 20))
    rig.see(MISS)
    assert rig.prior is not None
    assert translation_error(rig.prior, moved(HERE, 0.5)) < 1e-9
    assert rotation_error_deg(rig.prior, moved(HERE, 0.5, 29)) < 1e-6


def test_after_misses_near_the_prior_the_whole_map_is_searched_too() -> None:
    rig = Rig()
    rig.see(HERE, odom=np.eye(4))
    for _ in range(6):
        assert rig.see(MISS, odom=np.eye(4)).reason == MISS
        assert rig.tracker.state == "searching"
    assert [prior is not None for prior in rig.localizer.priors] == [False] + [True, True, False] * 3
    assert rig.see(HERE, odom=np.eye(4)).localized and rig.tracker.misses == 0
    rig = Rig(misses=3)
    rig.see(HERE, odom=np.eye(4))
    for _ in range(8):
        rig.see(MISS, odom=np.eye(4))
    assert [prior is not None for prior in rig.localizer.priors[1:]] == ([True] * 4 + [False]) * 2


def test_the_whole_map_is_not_searched_if_the_image_fits_near_the_prior() -> None:
    rig = Rig()
    rig.see(HERE, odom=np.eye(4))
    for _ in range(2):
        missed = rig.see(MISS, odom=np.eye(4))
    assert missed.latency_ms == {"match": 4.0, "near": 1.0, "map": 1.0}, "of both searches"
    assert rig.see(MISS, odom=np.eye(4)).latency_ms == {"match": 2.0, "near": 1.0}
    assert rig.see(MISS, HERE, odom=np.eye(4)).localized and rig.tracker.prior_used
    assert rig.tracker.state == "tracking" and rig.prior is not None


@pytest.mark.parametrize("odom", [np.eye(4), None], ids=["standing odometry", "no odometry"])
def test_a_kidnapped_robot_is_found(odom: Array | None) -> None:
    """Nothing fits near the old place; the new one is accepted when a second image confirms it."""
    rig = Rig()
    rig.see(HERE, odom=odom)
    answers = [rig.see(THERE, MISS, odom=odom) for _ in range(4)]
    assert [a.reason.split(" (")[0] for a in answers] == ["too few inliers", "jump", "", "too few inliers"]
    assert answers[1].map_from_camera is None and answers[1].covariance is None and answers[1].submap == -1
    assert answers[2].map_from_camera is THERE
    assert [prior is not None for prior in rig.localizer.priors[1:]] == [True, True, False, False, True]
    assert rig.prior is not None
    np.testing.assert_allclose(rig.prior, THERE)  # no velocity from the old place to the new


def test_a_robot_that_is_found_while_it_drives_on() -> None:
    rig = Rig()
    rig.see(HERE, odom=np.eye(4))
    for i in range(1, 4):
        found = rig.see(moved(THERE, 0.3 * i), MISS, odom=invert(THERE) @ moved(THERE, 0.3 * i))
    assert found.localized


def test_a_wrong_answer_is_refused_and_the_track_continues() -> None:
    rig = Rig()
    rig.see(HERE, odom=np.eye(4))
    near = rig.see(MISS, moved(HERE, 0.7), odom=np.eye(4))
    assert near.reason == (
        "jump (0.70 m and 0 deg from where the camera should be, at most 0.50 m and 15 deg)"
    )
    assert rig.see(THERE, odom=np.eye(4)).reason.startswith("jump (11")
    third = rig.see(moved(THERE, -3.0), odom=np.eye(4))  # whole map again: agrees with neither
    assert third.reason.startswith("jump")
    assert rig.see(HERE, odom=np.eye(4)).localized  # whole map, as the track
    assert rig.see(THERE, HERE, odom=np.eye(4)).localized and rig.prior is not None
    assert rig.see(MISS, MISS, odom=np.eye(4)).reason == MISS
    assert rig.see(THERE, odom=np.eye(4)).reason.startswith("jump")  # the earlier ones are forgotten


def test_the_jump_limit_grows_with_the_way_and_with_time() -> None:
    rig = Rig()
    rig.see(HERE, odom=np.eye(4))
    on = moved(HERE, 4.0)
    odom = invert(HERE) @ on
    assert rig.see(MISS, moved(on, 1.0), odom=odom).reason.endswith("at most 0.90 m and 15 deg)")
    assert rig.see(MISS, odom=odom).reason == MISS
    assert rig.see(MISS, moved(on, 0.8), odom=odom).localized
    rig = Rig()
    rig.see(HERE)
    assert rig.see(moved(HERE, 1.2), after=0.4).localized
    assert rig.see(MISS, moved(HERE, -0.2), after=0.1).reason.endswith("at most 0.70 m and 27 deg)")


def test_when_lost_any_accepted_answer_is_a_start() -> None:
    rig = Rig(timeout_s=1.0)
    rig.see(HERE)
    assert rig.see(THERE, after=1.5).localized and rig.prior is None
    rig.tracker.reset()
    assert rig.tracker.state == "lost"
    assert rig.see(HERE).localized and rig.prior is None


def test_images_out_of_order_and_too_old() -> None:
    rig = Rig(max_age_s=0.5)
    rig.see(HERE)
    late = rig.see(HERE, after=-0.05)
    assert late.reason == "stale (taken 0.050 s before the last localized image)" and not late.localized
    assert len(rig.localizer.priors) == 1 and rig.tracker.misses == 0 and rig.tracker.state == "tracking"
    assert rig.see(HERE, after=0.05).localized  # the same stamp again does no harm
    now = rig.stamp + 10 * TENTH
    old = rig.tracker.localize(IMAGE, CAMERA, rig.stamp, now_ns=now)
    assert old.reason == "stale (taken 1.0 s ago, at most 0.5)"
    assert rig.tracker.localize(IMAGE, CAMERA, rig.stamp, now_ns=now - 6 * TENTH).localized
    assert rig.see(THERE, after=-30).localized  # a recording starts again
    assert rig.prior is None


def test_cameras_outside_the_map() -> None:
    rig = Rig()
    assert rig.see(moved(HERE, -5.5)).reason == "outside the map (1.5 m beyond its box, at most 1)"
    assert rig.see(moved(HERE, -4.5)).localized
    two_rooms = np.concatenate([ROOM, ROOM + np.array([100, 0, 0])]).astype(np.float32)
    extent = MapExtent(two_rooms, HERE[None])
    assert extent.rejection(np.array([60.0, 5, 1]), 1.0) == "outside the map (nothing of it within 5 m)"
    assert extent.rejection(np.array([110.0, 5, 1]), 1.0) == ""
    away = compose(np.eye(3), [5, 5, 30])
    assert MapExtent(ROOM, away[None]).rejection(np.array([5.0, 5, 29]), 1.0) == ""  # it was seen from there


def test_a_given_pose_is_the_next_prior_and_follows_odometry() -> None:
    rig = Rig()
    rig.tracker.set_pose(HERE)
    assert rig.tracker.state == "searching"
    rig.see(MISS, odom=np.eye(4))
    assert rig.prior is not None
    np.testing.assert_allclose(rig.prior, HERE)
    rig.see(MISS, odom=exp([0, 0, 0, 0.5, 0, 0]))
    rig.see(MISS, odom=exp([0, 0, 0, 1.0, 0, 0]))
    assert rig.prior is not None
    np.testing.assert_allclose(rig.prior, HERE @ exp([0, 0, 0, 1.0, 0, 0]))
    assert rig.see(moved(HERE, 1.9), odom=np.eye(4)).localized  # it is only roughly known


def test_a_reset_during_work_holds() -> None:
    rig = Rig()
    rig.see(HERE)
    work = rig.localizer.localize

    def interrupted(*arguments: object, **named: object) -> Localization:
        rig.tracker.reset()
        return work(*arguments, **named)  # type: ignore[arg-type]

    rig.localizer.localize = interrupted  # type: ignore[method-assign]
    assert rig.see(HERE).localized and rig.tracker.state == "lost"
    rig.localizer.localize = work  # type: ignore[method-assign]
    rig.see(HERE)
    assert rig.prior is None


def test_without_priors_every_image_stands_alone() -> None:
    rig = Rig(use_prior=False)
    assert rig.see(HERE).localized and rig.see(THERE).localized and rig.see(HERE).localized
    assert rig.localizer.priors == [None] * 3


def test_two_cameras_follow_one_body() -> None:
    """The front camera localizes the body; the prior of the other camera follows from that."""
    rig = Rig()
    front, back = exp([0, 0.1, 0, 0.2, 0.0, 0.3]), exp([0, 3.0, 0, -0.2, 0.0, 0.3])
    rig.localizer.answer = HERE @ front
    found = rig.tracker.localize(IMAGE, CAMERA, rig.stamp + TENTH, body_from_camera=front)
    assert found.map_from_camera is not None
    rig.localizer.answer = HERE @ back
    found = rig.tracker.localize(IMAGE, CAMERA, rig.stamp + 2 * TENTH, body_from_camera=back)
    assert found.localized and rig.tracker.state == "tracking"
    prior = rig.localizer.priors[-1]
    assert prior is not None
    np.testing.assert_allclose(prior, HERE @ back, atol=1e-9)
    # a pose given for the body becomes one of the camera that sees the next image
    rig.tracker.set_pose(THERE)
    rig.tracker.localize(IMAGE, CAMERA, rig.stamp + 3 * TENTH, body_from_camera=front)
    np.testing.assert_allclose(rig.localizer.priors[-1], THERE @ front, atol=1e-9)  # type: ignore[arg-type]


def test_a_position_just_below_a_cells_edge_is_near_the_cell() -> None:
    """-1e-17 + 5 is 5: the cell from 0 to 5 must not be passed over."""
    points = np.random.default_rng(0).uniform(1, 4, (50, 3)).astype(np.float32)
    extent = MapExtent(points, np.eye(4)[None])
    assert extent.rejection(np.array([1.0, -1e-17, 1.0]), margin=1) == ""


def test_a_given_pose_limits_the_answers_to_its_region() -> None:
    rig = Rig()
    rig.tracker.set_pose(HERE, within=(0.7, 30.0))
    assert rig.see(moved(HERE, 0.8)).reason.startswith("jump (0.80 m and 0 deg from where")
    assert rig.prior is not None
    rig.tracker.set_pose(HERE, within=(0.1, 30.0))  # but two good poses may differ as much as ever
    assert rig.see(moved(HERE, 0.4)).localized


def test_a_pose_that_is_known_roughly_is_searched_in_the_whole_map() -> None:
    rig = Rig()
    rig.tracker.set_pose(HERE, within=(6.0, 40.0))
    assert rig.see(moved(HERE, 5.0)).localized and rig.prior is None
    rig.see(moved(HERE, 5.0))
    assert rig.prior is not None
    rig.tracker.set_pose(HERE, within=(1.0, 90.0))
    assert rig.see(moved(HERE, 5.0)).reason.startswith("jump (5.00 m") and rig.prior is None


def test_an_ambiguity_within_a_rough_pose_stays_one() -> None:
    """Near a prior, places that look alike are not told apart: the rough pose must not become one."""
    rig = Rig()
    rig.tracker.set_pose(HERE, within=(6.0, 40.0))
    for _ in range(3):
        assert rig.see("ambiguous (both)", near=moved(HERE, 0.5)).reason.startswith("ambiguous")
        assert rig.prior is None
    assert rig.see(moved(HERE, 3.0)).localized
    rig.see(moved(HERE, 3.0))
    assert rig.prior is not None
