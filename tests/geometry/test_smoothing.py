"""Noisy clouds become smooth surfaces; edges, gaps and attributes stay."""

import numpy as np
import pytest

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.smoothing import smoothed
from diff2i2p_core.typing import Array


def wall(rng: np.random.Generator, count: int = 40_000) -> Array:
    """Points of the square from 0 to 2 m in the plane z = 0."""
    return np.column_stack([rng.uniform(0, 2, (count, 2)), np.zeros(count)])


def cloud(points: Array) -> PointCloud:
    return PointCloud(points.astype(np.float32))


def test_noise_becomes_a_sixth() -> None:
    rng = np.random.default_rng(0)
    points = wall(rng) + rng.normal(0, [0, 0, 0.03], (40_000, 3))
    z = smoothed(cloud(points + np.array([40, -70, 5])), 0.2).points[:, 2] - 5
    inside = ((points[:, :2] > 0.2) & (points[:, :2] < 1.8)).all(axis=1)
    assert z[inside].std() < 0.0055


def test_points_move_only_across_the_surface() -> None:
    rng = np.random.default_rng(1)
    points = wall(rng) + rng.normal(0, [0, 0, 0.02], (40_000, 3))
    moved = smoothed(cloud(points), 0.15).points - points
    assert np.abs(moved[:, :2]).max() < 0.012
    assert np.abs(moved[:, 2]).mean() > 0.01


def test_an_edge_stays_sharp() -> None:
    """Two walls at right angles: averages would lie inside the corner."""
    rng = np.random.default_rng(2)
    floor = wall(rng)
    side = floor[:, [2, 1, 0]]
    exact = np.concatenate([floor, side])
    noisy = exact + rng.normal(0, 0.01, exact.shape)
    points = smoothed(cloud(noisy), 0.08).points
    near = ((noisy[:, [0, 2]] < 0.1).all(axis=1)) & (np.abs(noisy[:, 1] - 1) < 0.8)
    off = np.minimum(np.abs(points[:, 0]), np.abs(points[:, 2]))[near]
    before = np.minimum(np.abs(noisy[:, 0]), np.abs(noisy[:, 2]))[near]
    assert np.median(off) < 0.5 * np.median(before)
    assert np.quantile(off, 0.9) < np.quantile(before, 0.9)


def test_a_gap_stays_open() -> None:
    rng = np.random.default_rng(3)
    points = wall(rng)
    points = points[np.abs(points[:, 0] - 1) > 0.1] + rng.normal(0, [0, 0, 0.02], (1, 3))
    kept = smoothed(cloud(points), 0.15).points
    assert not ((kept[:, 0] > 0.92) & (kept[:, 0] < 1.08)).any()


def test_few_points_stay_where_they_are() -> None:
    lonely = np.random.default_rng(4).uniform(0, 50, (200, 3))
    assert np.array_equal(smoothed(cloud(lonely), 0.1).points, cloud(lonely).points)
    assert len(smoothed(PointCloud(np.empty((0, 3), np.float32)), 0.1)) == 0


def test_attributes_are_kept() -> None:
    rng = np.random.default_rng(5)
    grey = rng.integers(0, 256, 1000).astype(np.uint8)
    before = PointCloud(wall(rng, 1000).astype(np.float32), intensity=grey)
    assert smoothed(before, 0.2).intensity is grey


@pytest.mark.parametrize("count", [1, 11])
def test_tiny_clouds(count: int) -> None:
    points = np.random.default_rng(6).uniform(0, 0.01, (count, 3)).astype(np.float32)
    assert len(smoothed(PointCloud(points), 0.1)) == count
