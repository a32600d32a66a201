"""Clouds are smoothed before a map is made of them, if their points are noisy."""

import numpy as np
import pytest

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.mapping.denoise import denoised


def noisy_wall(noise: float, colored: bool = False, apart: float = 0.005) -> PointCloud:
    rng = np.random.default_rng(0)
    count = int((2 / apart) ** 2)
    points = np.column_stack([rng.uniform(0, 2, (count, 2)), rng.normal(0, noise, count)])
    colors = rng.integers(0, 256, (count, 3)).astype(np.uint8) if colored else None
    return PointCloud(points.astype(np.float32), colors)


@pytest.mark.parametrize("colored", [False, True])
def test_the_noise_of_a_lidar_is_smoothed(colored: bool) -> None:
    notes = list[str]()
    cloud = noisy_wall(0.03, colored)
    smooth = denoised(cloud, note=notes.append)
    assert smooth.points[:, 2].std() < 0.35 * 0.03
    assert len(smooth) < len(cloud) and (smooth.colors is not None) == colored
    assert notes == ["the points are noisy, so they are smoothed"]


def test_the_noise_of_a_depth_camera_counts_only_if_nothing_else_is_shown() -> None:
    plain, colored = noisy_wall(0.012), noisy_wall(0.012, colored=True)
    assert denoised(plain).points[:, 2].std() < 0.4 * 0.012
    assert denoised(colored) is colored


@pytest.mark.parametrize(
    "cloud", [noisy_wall(0.003), noisy_wall(0.03, apart=0.04)], ids=["precise", "sparse"]
)
def test_other_clouds_stay_as_they_are(cloud: PointCloud) -> None:
    notes = list[str]()
    assert denoised(cloud, note=notes.append) is cloud and not notes


def test_progress_ends_with_all_points() -> None:
    steps = list[tuple[str, int, int]]()
    denoised(noisy_wall(0.03), lambda *step: steps.append(step))
    assert steps and all(name == "smoothing" and done <= total for name, done, total in steps)
    assert steps[-1][1] == steps[-1][2]
