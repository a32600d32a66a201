from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.covariance import perturb, pose_covariance, reprojection
from diff2i2p_core.geometry.pnp import NoPose, PnpSettings, PoseEstimate, solve_pnp
from diff2i2p_core.geometry.se3 import (
    compose,
    invert,
    rotation_error_deg,
    transform_points,
    translation_error,
)

CAMERA = Camera(640, 480, 525, 520, 319.5, 239.5)
SOLVERS = ["poselib", "opencv"]


def scene(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels, points in the map, map_from_camera."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform([0, 0], [639, 479], (count, 2))
    z = rng.uniform(1, 5, count)
    in_camera = np.stack(
        [(pixels[:, 0] - CAMERA.cx) / CAMERA.fx * z, (pixels[:, 1] - CAMERA.cy) / CAMERA.fy * z, z], axis=1
    )
    map_from_camera = compose(Rotation.random(random_state=seed).as_matrix(), rng.uniform(-5, 5, 3))
    return pixels, transform_points(map_from_camera, in_camera), map_from_camera


def solved(*args: object, **kwargs: object) -> PoseEstimate:
    estimate = solve_pnp(*args, **kwargs)  # type: ignore[arg-type]
    assert isinstance(estimate, PoseEstimate), estimate
    return estimate


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("shift", [0.0, 5e5])
def test_exact_data_give_the_exact_pose(solver: str, shift: float) -> None:
    for seed in range(5):
        pixels, points, map_from_camera = scene(seed, 50)
        points, map_from_camera[:3, 3] = points + shift, map_from_camera[:3, 3] + shift
        estimate = solved(pixels, points, CAMERA, settings=PnpSettings(solver=solver))
        assert translation_error(invert(estimate.camera_from_points), map_from_camera) < 1e-6
        assert rotation_error_deg(estimate.camera_from_points, invert(map_from_camera)) < 1e-5
        assert estimate.num_inliers == 50 and estimate.inliers.all()
        assert estimate.reprojection_error_px < 1e-5


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scored", [True, False])
def test_noise_and_70_percent_outliers(solver: str, scored: bool) -> None:
    for seed in range(10):
        pixels, points, map_from_camera = scene(seed, 300)
        rng = np.random.default_rng(100 + seed)
        pixels += rng.normal(0, 1, pixels.shape)
        wrong = rng.permutation(300)[:210]
        pixels[wrong] = rng.uniform([0, 0], [639, 479], (210, 2))
        scores = rng.uniform(0, 1, 300) + 0.3 * ~np.isin(np.arange(300), wrong)
        estimate = solved(pixels, points, CAMERA, scores if scored else None, PnpSettings(solver=solver))
        assert translation_error(invert(estimate.camera_from_points), map_from_camera) < 0.03
        assert rotation_error_deg(estimate.camera_from_points, invert(map_from_camera)) < 0.5
        assert estimate.inliers[wrong].mean() < 0.03
        assert np.delete(estimate.inliers, wrong).mean() > 0.97
        assert 1.0 < estimate.reprojection_error_px < 2.0


def outlier_matches(
    seed: int, count: int, wrong_fraction: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pixels with 1 px noise, points, scores a little higher for right matches, and map_from_camera."""
    pixels, points, map_from_camera = scene(seed, count)
    rng = np.random.default_rng(100 + seed)
    pixels += rng.normal(0, 1, pixels.shape)
    wrong = rng.permutation(count)[: int(wrong_fraction * count)]
    pixels[wrong] = rng.uniform([0, 0], [639, 479], (len(wrong), 2))
    scores = rng.uniform(0, 1, count) + 0.3 * ~np.isin(np.arange(count), wrong)
    return pixels, points, scores, map_from_camera


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("scored", "count", "wrong"), [(False, 100, 0.8), (True, 500, 0.95)])
def test_both_solvers_find_poses_among_many_outliers(
    solver: str, scored: bool, count: int, wrong: float
) -> None:
    found = 0
    for seed in range(20):
        pixels, points, scores, map_from_camera = outlier_matches(seed, count, wrong)
        answer = solve_pnp(pixels, points, CAMERA, scores if scored else None, PnpSettings(solver=solver))
        if isinstance(answer, PoseEstimate):
            found += translation_error(invert(answer.camera_from_points), map_from_camera) < 0.05
    assert found >= 18


def test_without_poselib_opencv_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Linux arm64, for which poselib has no wheels: same arguments, same kind of answer."""
    pixels, points, scores, map_from_camera = outlier_matches(0, 300, 0.7)
    with_poselib = solved(pixels, points, CAMERA, scores)
    by_opencv = solved(pixels, points, CAMERA, scores, PnpSettings(solver="opencv"))
    monkeypatch.setitem(sys.modules, "poselib", None)
    without = solved(pixels, points, CAMERA, scores)
    np.testing.assert_array_equal(without.camera_from_points, by_opencv.camera_from_points)
    np.testing.assert_array_equal(without.inliers, with_poselib.inliers)
    np.testing.assert_allclose(without.camera_from_points, with_poselib.camera_from_points, atol=1e-4)
    np.testing.assert_allclose(without.covariance, with_poselib.covariance, rtol=1e-2, atol=1e-9)
    assert translation_error(invert(without.camera_from_points), map_from_camera) < 0.03
    with pytest.raises(InputError, match="'poselib' is not installed; pip install poselib, or use opencv"):
        solve_pnp(pixels, points, CAMERA, settings=PnpSettings(solver="poselib"))


def test_the_same_answer_twice_and_from_both_solvers() -> None:
    pixels, points, _ = scene(3, 200)
    pixels += np.random.default_rng(0).normal(0, 1, pixels.shape)
    pixels[::3] = 10
    first, again = (solved(pixels, points, CAMERA) for _ in range(2))
    np.testing.assert_array_equal(first.camera_from_points, again.camera_from_points)
    other = solved(pixels, points, CAMERA, settings=PnpSettings(solver="opencv"))
    np.testing.assert_allclose(first.camera_from_points, other.camera_from_points, atol=1e-5)


def test_only_the_best_scores_take_part_but_all_are_judged() -> None:
    pixels, points, _ = scene(4, 400)
    pixels[200:] = [5, 5]
    estimate = solved(pixels, points, CAMERA, np.arange(400.0)[::-1], PnpSettings(max_correspondences=100))
    assert estimate.inliers[:200].all() and estimate.num_inliers == 200


@pytest.mark.parametrize("solver", SOLVERS)
def test_degenerate_input_gives_no_pose_with_a_reason(solver: str) -> None:
    settings = PnpSettings(solver=solver)
    pixels, points, _ = scene(0, 60)
    line = np.outer(np.linspace(0, 1, 60), [1.0, 2.0, 3.0]) + 4.0

    def reason(pixels: np.ndarray, points: np.ndarray, settings: PnpSettings = settings) -> str:
        answer = solve_pnp(pixels, points, CAMERA, settings=settings)
        assert isinstance(answer, NoPose)
        return answer.reason

    assert reason(pixels[:0], points[:0]) == "too few correspondences (0)"
    assert reason(pixels[:3], points[:3]) == "too few correspondences (3)"
    assert reason(np.full_like(pixels, np.nan), points) == "too few correspondences (0)"
    assert "line" in reason(pixels, line)
    assert "line" in reason(pixels, np.ones_like(points))
    noise = np.random.default_rng(1).uniform(0, 480, pixels.shape)
    assert "inliers" in reason(noise, points, PnpSettings(solver=solver, min_inliers=30))


def test_nan_rows_are_ignored() -> None:
    pixels, points, map_from_camera = scene(1, 60)
    pixels[5], points[7, 1] = np.nan, np.inf
    estimate = solved(pixels, points, CAMERA)
    assert estimate.num_inliers == 58 and not estimate.inliers[[5, 7]].any()
    assert translation_error(invert(estimate.camera_from_points), map_from_camera) < 1e-6


def test_bad_arguments() -> None:
    pixels, points, _ = scene(1, 10)
    with pytest.raises(ValueError, match="expected pixels"):
        solve_pnp(pixels, points[:5], CAMERA)
    with pytest.raises(InputError, match="unknown"):
        solve_pnp(pixels, points, CAMERA, settings=PnpSettings(solver="magic"))


def test_jacobian_against_differences() -> None:
    _, points, map_from_camera = scene(2, 8)
    pixels, z, jacobian = reprojection(map_from_camera, points, CAMERA)
    np.testing.assert_allclose(z, transform_points(invert(map_from_camera), points)[:, 2])
    for k in range(6):
        delta = np.zeros(6)
        delta[k] = 1e-6
        moved, _, _ = reprojection(perturb(map_from_camera, delta), points, CAMERA)
        np.testing.assert_allclose((moved - pixels) / 1e-6, jacobian[:, :, k], rtol=1e-4, atol=1e-2)


def test_covariance_against_monte_carlo() -> None:
    exact, points, map_from_camera = scene(7, 120)
    rng = np.random.default_rng(0)
    deltas, predicted = [], []
    for _ in range(300):
        estimate = solved(exact + rng.normal(0, 1.5, exact.shape), points, CAMERA)
        pose = invert(estimate.camera_from_points)
        rotation = Rotation.from_matrix(pose[:3, :3] @ map_from_camera[:3, :3].T).as_rotvec()
        deltas.append([*(pose[:3, 3] - map_from_camera[:3, 3]), *rotation])
        predicted.append(estimate.covariance)
    mean = np.mean(predicted, axis=0)
    ratio = np.cov(np.array(deltas).T).diagonal() / mean.diagonal()
    assert (ratio > 0.7).all() and (ratio < 1.4).all(), ratio
    # the whole matrix: the normalised error has six degrees of freedom
    squared = [d @ np.linalg.solve(mean, d) for d in np.array(deltas)]
    assert 5.0 < np.mean(squared) < 7.2


def test_covariance_of_what_does_not_fix_a_pose() -> None:
    pixels, points, map_from_camera = scene(2, 3)
    for rows in (np.arange(3), np.zeros(10, int)):
        projected, _, jacobian = reprojection(map_from_camera, points[rows], CAMERA)
        assert pose_covariance(projected - pixels[rows], jacobian) is None
