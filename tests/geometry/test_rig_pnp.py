"""The pose of a body from the matches of several cameras."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.camera_matches import CameraMatches
from diff2i2p_core.geometry.covariance import in_sigmas
from diff2i2p_core.geometry.pnp import NoPose, PnpSettings, PoseEstimate, solve_pnp
from diff2i2p_core.geometry.rig import RigCamera, check_rig
from diff2i2p_core.geometry.rig_pnp import RigEstimate, solve_rig_pnp
from diff2i2p_core.geometry.se3 import (
    compose,
    exp,
    invert,
    rotation_error_deg,
    transform_points,
    translation_error,
)
from diff2i2p_core.typing import Array

FRONT = Camera(640, 480, 525, 520, 319.5, 239.5)
SMALL = Camera(320, 240, 200, 200, 159.5, 119.5)
FORWARD = np.eye(4)
LEFT = compose(Rotation.from_euler("y", -90, degrees=True).as_matrix(), [-0.3, 0.1, 0.2])
SOLVERS = ["poselib", "opencv"]


def matches(
    body: Array,
    camera: Camera,
    mounting: Array,
    count: int,
    *,
    seed: int,
    noise: float = 0.0,
    wrong: float = 0.0,
    limit: float = 8.0,
) -> CameraMatches:
    """True matches of a camera on the body at map_from_body, with noise; the first ones are wrong."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform([0, 0], [camera.width - 1, camera.height - 1], (count, 2))
    z = rng.uniform(1, 5, count)
    rays = np.column_stack([(pixels - [camera.cx, camera.cy]) / [camera.fx, camera.fy], np.ones(count)])
    points = transform_points(body @ mounting, rays * z[:, None])
    pixels += rng.normal(0, noise, pixels.shape)
    bad = round(wrong * count)
    pixels[:bad] = rng.uniform([0, 0], [camera.width - 1, camera.height - 1], (bad, 2))
    return CameraMatches(pixels, points, camera, mounting, limit)


def body_at(seed: int, shift: float = 0.0) -> Array:
    rng = np.random.default_rng(seed)
    return compose(Rotation.random(random_state=seed).as_matrix(), rng.uniform(-5, 5, 3) + shift)


def solved(given: list[CameraMatches], solver: str = "auto") -> RigEstimate:
    estimate = solve_rig_pnp(given, PnpSettings(solver=solver))
    assert isinstance(estimate, RigEstimate), estimate
    return estimate


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("shift", [0.0, 5e5])
def test_exact_matches_give_the_exact_pose_of_the_body(solver: str, shift: float) -> None:
    for seed in range(4):
        body = body_at(seed, shift)
        two = [matches(body, FRONT, FORWARD, 30, seed=seed), matches(body, SMALL, LEFT, 20, seed=seed + 50)]
        estimate = solved(two, solver)
        assert translation_error(estimate.map_from_body, body) < 1e-6
        assert rotation_error_deg(estimate.map_from_body, body) < 1e-5
        assert [mask.sum() for mask in estimate.inliers] == [30, 20] and estimate.num_inliers == 50


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_camera_with_wrong_matches_only_does_no_harm(solver: str) -> None:
    for seed in range(6):
        body = body_at(seed)
        good = matches(body, FRONT, FORWARD, 100, seed=seed, noise=1, wrong=0.4)
        blind = matches(body, SMALL, LEFT, 150, seed=seed + 50, wrong=1.0)
        alone = solved([good], solver)
        estimate = solved([good, blind], solver)
        assert translation_error(estimate.map_from_body, alone.map_from_body) < 0.01
        assert estimate.inliers[0].sum() >= 59 and estimate.inliers[1].sum() <= 3


@pytest.mark.parametrize("solver", SOLVERS)
def test_two_cameras_are_more_accurate_than_the_better_one(solver: str) -> None:
    alone, both = [], []
    for seed in range(12):
        body = body_at(seed)
        front = matches(body, FRONT, FORWARD, 60, seed=seed, noise=2, wrong=0.3)
        left = matches(body, FRONT, LEFT, 60, seed=seed + 50, noise=2, wrong=0.3)
        errors = [translation_error(solved([each], solver).map_from_body, body) for each in (front, left)]
        alone.append(min(errors))
        both.append(translation_error(solved([front, left], solver).map_from_body, body))
    assert np.median(both) < np.median(alone)


def test_cameras_that_cannot_be_solved_alone_are_solved_together() -> None:
    """Three right matches each, and as many wrong ones."""
    for seed in range(5):
        body = body_at(seed)
        two = [
            matches(body, FRONT, mounting, 9, seed=seed + number, wrong=5 / 9)
            for number, mounting in enumerate((FORWARD, LEFT, exp([0, 2.5, 0, 0.1, 0, 0])))
        ]
        assert translation_error(solved(two, "poselib").map_from_body, body) < 1e-5


def test_one_camera_has_the_same_pose_and_covariance_as_without_a_rig() -> None:
    body = body_at(3)
    front = matches(body, FRONT, FORWARD, 80, seed=3, noise=1)
    single = solve_pnp(front.pixels, front.points, FRONT)
    rig = solved([front])
    assert isinstance(single, PoseEstimate)
    np.testing.assert_allclose(rig.map_from_body, invert(single.camera_from_points), atol=1e-9)
    np.testing.assert_allclose(rig.covariance, single.covariance, rtol=1e-6, atol=1e-15)
    assert rig.reprojection_error_px == pytest.approx(single.reprojection_error_px)


def test_the_covariance_is_that_of_the_bodys_pose() -> None:
    errors = []
    for seed in range(60):
        body = body_at(seed)
        far = exp([0, 0.3, 0, 2.0, 0.5, 0])  # a long lever
        two = [
            matches(body, FRONT, far, 60, seed=seed, noise=1),
            matches(body, SMALL, far @ LEFT, 60, seed=seed + 100, noise=0.5, limit=4.0),
        ]
        estimate = solved(two)
        errors.append(in_sigmas(estimate.map_from_body, estimate.covariance, body))
    spread = np.sqrt((np.array(errors) ** 2).mean(axis=0))
    assert (spread > 0.7).all() and (spread < 1.4).all(), spread


def test_errors_count_relative_to_each_cameras_limit() -> None:
    """The same image at twice the resolution, with twice the limit, changes nothing."""
    body = body_at(1)
    front = matches(body, FRONT, FORWARD, 60, seed=1, noise=1)
    left = matches(body, FRONT, LEFT, 60, seed=2, noise=1)
    fine = replace(
        left, pixels=2 * left.pixels, camera=Camera(1280, 960, 1050, 1040, 639, 479), max_error_px=16.0
    )
    one, two = solved([front, left], "opencv"), solved([front, fine], "opencv")
    np.testing.assert_allclose(one.map_from_body, two.map_from_body, atol=1e-6)
    np.testing.assert_allclose(one.covariance, two.covariance, rtol=1e-3, atol=1e-12)


def test_it_is_deterministic() -> None:
    body = body_at(5)
    two = [
        matches(body, FRONT, FORWARD, 60, seed=1, noise=1, wrong=0.5),
        matches(body, SMALL, LEFT, 60, seed=2, noise=1, wrong=0.5),
    ]
    for solver in SOLVERS:
        np.testing.assert_array_equal(solved(two, solver).map_from_body, solved(two, solver).map_from_body)


def test_what_determines_no_pose_is_refused() -> None:
    none = CameraMatches(np.empty((0, 2)), np.empty((0, 3)), FRONT, FORWARD, 8.0)
    assert solve_rig_pnp([none, none]) == NoPose("too few correspondences (0)")
    line = CameraMatches(
        np.tile([[10.0, 10.0]], (20, 1)), np.linspace([0, 0, 1], [0, 0, 9], 20), FRONT, FORWARD, 8.0
    )
    assert isinstance(solve_rig_pnp([line, none]), NoPose)
    broken = matches(body_at(0), FRONT, FORWARD, 30, seed=0)
    broken.pixels[:10] = np.nan
    assert solved([broken]).inliers[0].sum() == 20


def test_cameras_of_a_rig_are_checked() -> None:
    with pytest.raises(InputError, match=r"camera 'front': body_from_camera is not a finite rigid transform"):
        RigCamera("front", FRONT, np.diag([2.0, 1, 1, 1]))
    with pytest.raises(InputError, match="two are called 'front'"):
        check_rig([RigCamera("front", FRONT), RigCamera("front", SMALL)])
    with pytest.raises(InputError, match="there is none"):
        check_rig([])
