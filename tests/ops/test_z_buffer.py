from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from diff2i2p_core.ops.z_buffer import z_buffer

K = torch.tensor([[50.0, 0.0, 19.3], [0.0, 48.0, 14.8], [0.0, 0.0, 1.0]])
SIZE = (30, 40)


def cloud(n: int = 4000, seed: int = 0) -> Tensor:
    """Points (2, N, 3) around the camera, some behind it, some outside its view, some broken."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([-2, -2, -1], [2, 2, 4], (2, n, 3)).astype(np.float32)
    points[:, 5] = np.nan
    points[:, 6] = [np.inf, 0, 1]
    points[:, 7] = 0
    points[:, 9] = points[:, 8] = [0.1, 0.1, 0.2]  # two equal points: the lower index wins
    return torch.from_numpy(points)


def brute_force(points: NDArray[np.float32], near: float, far: float) -> tuple[NDArray[np.float32], Tensor]:
    depth = np.zeros(SIZE, np.float32)
    index = torch.full(SIZE, -1)
    k = K.numpy()
    for i, (x, y, z) in enumerate(points):
        if not (np.isfinite([x, y, z]).all() and near < z < far):
            continue
        u = np.rint((k[0, 0] * x + k[0, 2] * z) / z)
        v = np.rint((k[1, 1] * y + k[1, 2] * z) / z)
        if not (0 <= u < SIZE[1] and 0 <= v < SIZE[0]):
            continue
        if depth[int(v), int(u)] == 0 or z < depth[int(v), int(u)]:
            depth[int(v), int(u)] = z
            index[int(v), int(u)] = i
    return depth, index


@pytest.mark.parametrize("far", [2.5, float("inf")])
def test_equals_a_loop_over_the_points(far: float) -> None:
    points = cloud()
    depth, index = z_buffer(points, K, SIZE, near=0.1, far=far)
    assert (depth == 0).any()
    for sample in range(2):
        expected, winners = brute_force(points[sample].numpy(), 0.1, far)
        np.testing.assert_array_equal(depth[sample].numpy(), expected)
        assert torch.equal(index[sample], winners)


def test_gradient_reaches_the_nearest_points_alone() -> None:
    points = cloud().requires_grad_()
    depth, index = z_buffer(points, K, SIZE)
    depth.sum().backward()
    assert points.grad is not None
    expected = torch.zeros(2, points.shape[1])
    for sample in range(2):
        expected[sample, index[sample][index[sample] >= 0]] = 1
    assert torch.equal(points.grad[..., 2], expected)
    assert (points.grad[..., :2] == 0).all()


def test_no_points_render_an_empty_map() -> None:
    depth, index = z_buffer(torch.zeros(1, 0, 3), K, SIZE)
    assert (depth == 0).all()
    assert (index == -1).all()


def test_released_rounding_matches_the_released_code(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "csd.npz")
    camera_from_cloud, points = torch.from_numpy(golden["transform_pred"]), torch.from_numpy(golden["points"])
    in_camera = points @ camera_from_cloud[:3, :3].T + camera_from_cloud[:3, 3]
    depth, _ = z_buffer(in_camera[None], torch.from_numpy(golden["K"]), (480, 640), far=15.0, released=True)
    flat = depth.reshape(-1).numpy()
    np.testing.assert_array_equal(np.flatnonzero(flat), golden["sparse_idx"])
    np.testing.assert_allclose(flat[golden["sparse_idx"]], golden["sparse_val"], rtol=1e-6)
