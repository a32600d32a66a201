from __future__ import annotations

import numpy as np
import pytest

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.camera_matches import CameraMatches, inliers_at
from diff2i2p_core.geometry.pose_refinement import refine
from diff2i2p_core.geometry.se3 import exp, rotation_error_deg, transform_points, translation_error

CAMERAS = (Camera(640, 480, 525, 520, 320, 240), Camera(320, 240, 200, 210, 150, 120))
LIMITS = (8.0, 4.0)


def rig(seed: int, noise_px: float) -> tuple[np.ndarray, list[CameraMatches]]:
    """points_from_body, and matches of two cameras, of which a third is wrong."""
    rng = np.random.default_rng(seed)
    body, matches = exp(rng.normal(0, 1, 6)), []
    for camera, limit in zip(CAMERAS, LIMITS, strict=True):
        mount = exp(rng.normal(0, [1, 1, 1, 0.3, 0.3, 0.3]))
        seen = rng.uniform([-1.5, -1.5, 2], [1.5, 1.5, 5], (150, 3))
        pixels, _ = camera.project(seen)
        pixels += rng.normal(0, noise_px, pixels.shape)
        pixels[:50] += rng.uniform(2, 5, (50, 2)) * limit
        matches.append(CameraMatches(pixels, transform_points(body @ mount, seen), camera, mount, limit))
    return body, matches


@pytest.mark.parametrize("count", [1, 2])
def test_exact_matches_give_the_exact_pose(count: int) -> None:
    for seed in range(5):
        body, matches = rig(seed, 0.0)
        start = body @ exp(np.random.default_rng(seed).normal(0, 0.004, 6))
        pose, loss = refine(start, matches[:count])
        assert translation_error(pose, body) < 1e-7 and rotation_error_deg(pose, body) < 1e-5
        assert loss == pytest.approx(50 * count * np.log1p(16.0))  # all of the wrong ones, no other


def test_the_loss_cannot_be_made_smaller() -> None:
    """By the definition: a Cauchy loss in a quarter of the limit, constant beyond it."""

    def loss_at(pose: np.ndarray) -> float:
        total = 0.0
        for each in matches:
            inliers, residual = each.inliers_at(pose)
            squared = (residual**2).sum(axis=1) / (each.max_error_px / 4) ** 2
            total += float(np.where(inliers, np.log1p(squared), np.log1p(16.0)).sum())
        return total

    body, matches = rig(7, 1.0)
    pose, loss = refine(body, matches)
    assert loss == pytest.approx(loss_at(pose)) and loss < loss_at(body)
    for axis in range(6):
        for sign in (-1, 1):
            assert loss_at(pose @ exp(sign * 1e-3 * np.eye(6)[axis])) > loss


def test_without_enough_inliers_the_start_is_kept() -> None:
    body, matches = rig(3, 0.0)
    behind = body @ exp([0, np.pi, 0, 0, 0, 0])
    pose, _ = refine(behind, matches[:1])
    np.testing.assert_array_equal(pose, behind)
    assert not inliers_at(behind, matches[0].pixels, matches[0].points, CAMERAS[0], 8.0)[0].any()
