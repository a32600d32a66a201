from __future__ import annotations

import numpy as np

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.voxels import sum_by_key, voxel_keys, voxel_means


def test_downsample_takes_the_mean_of_each_cell() -> None:
    points = np.array([[0.01, 0.01, 0.01], [0.03, 0.01, 0.01], [-0.01, 0, 0]], np.float32)
    colors = np.array([[0, 10, 20], [100, 30, 20], [7, 8, 9]], np.uint8)
    cloud = PointCloud(points, colors, np.array([10, 20, 30], np.uint8)).thinned(0.05)
    np.testing.assert_allclose(cloud.points, [[-0.01, 0, 0], [0.02, 0.01, 0.01]], atol=1e-7)
    assert cloud.colors is not None and cloud.intensity is not None
    np.testing.assert_array_equal(cloud.colors, [[7, 8, 9], [50, 20, 20]])
    np.testing.assert_array_equal(cloud.intensity, [30, 15])


def test_downsample_does_not_depend_on_the_order_of_the_points() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (2000, 3)).astype(np.float32)
    a = voxel_means(points, 0.1)
    b = voxel_means(points[rng.permutation(2000)], 0.1)
    np.testing.assert_allclose(a, b, atol=1e-6)
    assert len(np.unique(voxel_keys(points, 0.1))) == len(a)


def test_empty_clouds_stay_empty() -> None:
    keys, sums = sum_by_key(np.empty(0, np.int64), np.zeros((0, 2)))
    assert keys.shape == (0,) and sums.shape == (0, 2)
    cloud = PointCloud(np.zeros((0, 3), np.float32)).thinned(0.1)
    assert cloud.points.shape == (0, 3) and cloud.colors is None
