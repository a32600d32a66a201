from __future__ import annotations

import numpy as np
import pytest

from diff2i2p_core.localization.gates import coverage, rejection
from diff2i2p_core.localization.settings import GateSettings

SETTINGS = GateSettings(
    min_correspondences=20,
    min_inliers=15,
    min_inlier_ratio=0.2,
    max_reprojection_error_px=8.0,
    min_coverage=0.4,
)


@pytest.mark.parametrize(
    ("correspondences", "inliers", "error", "reason"),
    [
        (100, 50, 3.0, ""),
        (19, 19, 3.0, "too few correspondences (19, need 20)"),
        (100, 14, 3.0, "too few inliers (14, need 15)"),
        (100, 19, 3.0, "low inlier ratio (0.19, need 0.20)"),
        (100, 50, 8.5, "high reprojection error (8.5 px, at most 8.0)"),
    ],
)
def test_each_gate_has_its_reason(correspondences: int, inliers: int, error: float, reason: str) -> None:
    assert rejection(correspondences, inliers, error, 0.5, SETTINGS) == reason


def test_the_error_gate_follows_the_images_size() -> None:
    assert rejection(100, 50, 12.0, 0.5, SETTINGS, pixel_scale=2.0) == ""
    assert rejection(100, 50, 5.0, 0.5, SETTINGS, pixel_scale=0.5).startswith("high reprojection error")


def test_inliers_in_one_corner_are_too_little() -> None:
    everywhere = np.stack(np.meshgrid(np.arange(640.0), np.arange(480.0)), axis=-1).reshape(-1, 2)
    assert coverage(everywhere, 640, 480) == 1.0
    assert coverage(everywhere[everywhere.max(axis=1) < 79.4], 640, 480) == 1 / 48
    assert coverage(np.empty((0, 2)), 640, 480) == 0.0
    assert rejection(100, 50, 3.0, 0.39, SETTINGS) == "low coverage (inliers in 0.39 of the image, need 0.40)"
