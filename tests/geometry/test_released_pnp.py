"""The released PnP: OpenCV's pose, and the depth-weighted gradient of the released code's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from diff2i2p_core.geometry.released_pnp import (
    pose_matrix,
    pose_vector,
    released_start,
    with_released_gradients,
)

K = torch.tensor([[[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]], dtype=torch.float64)


def golden_case(folder: Path, case: str) -> dict[str, Tensor]:
    with np.load(folder / "bpnp.npz") as file:
        stored = {name: torch.from_numpy(file[name]) for name in file.files if name.startswith("uv_clean")}
        stored |= {name: torch.from_numpy(file[name]) for name in file.files if name.startswith(case)}
    return {name.removeprefix(f"{case}__"): value for name, value in stored.items()} | {
        "K": stored["uv_clean_500__K"]
    }


def small_scene(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Pixels (1, N, 2) with noise, and points (1, N, 3) in the camera's frame."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(1, count, 3, generator=generator, dtype=torch.float64) * 2 - 1
    points[..., 2] += 3
    projected = points @ K[0].T
    pixels = projected[..., :2] / projected[..., 2:]
    return pixels + 0.3 * torch.randn(pixels.shape, generator=generator, dtype=torch.float64), points


@pytest.mark.parametrize("case", ["uv_clean_500", "uv_noisy_64", "uv_noisy_500", "vu_clean_500"])
def test_poses_are_those_of_the_released_code(golden_dir: Path, case: str) -> None:
    """Also of swapped pixels, where many poses are nearly as good."""
    golden = golden_case(golden_dir, case)
    lengths = torch.tensor([golden["x2d"].shape[1]])
    start = released_start(golden["x2d"], golden["x3d"], golden["K"][None], lengths)
    np.testing.assert_allclose(start, golden["pose"], atol=1e-4)


@pytest.mark.parametrize("case", ["uv_clean_500", "uv_noisy_64", "uv_noisy_500"])
def test_gradients_are_those_of_the_released_code(golden_dir: Path, case: str) -> None:
    golden = golden_case(golden_dir, case)
    leaves = [golden[name].double().requires_grad_() for name in ("x2d", "x3d", "K")]
    pixels, points, intrinsics = leaves
    weights = torch.ones(points.shape[:2], dtype=torch.float64)
    pose = golden["pose"].double()
    solution = with_released_gradients(pose, pixels, points, intrinsics[None], weights)
    assert solution.valid.all()
    # (pose . w) through the matrix: its derivative for the six numbers, at the golden pose
    free = pose.clone().requires_grad_()
    jacobian = torch.autograd.functional.jacobian(pose_matrix, free)[0, :, :, 0].reshape(16, 6)
    of_matrix = (torch.linalg.pinv(jacobian).T @ golden["w"][0].double()).reshape(1, 4, 4)
    gradients = torch.autograd.grad(solution.camera_from_cloud, leaves, of_matrix)
    for name, gradient in zip(("x2d", "x3d", "K"), gradients, strict=True):
        expected = golden[f"grad_{name}"]
        assert (gradient - expected).norm() < 1e-4 * expected.norm(), name


def test_samples_without_a_pose_have_no_gradient() -> None:
    pixels, points = (torch.cat([t, t, t]) for t in small_scene(20))
    points[1] = 0  # one point
    points.requires_grad_()
    lengths = torch.tensor([20, 20, 3])
    pose = released_start(pixels, points, K.expand(3, 3, 3), lengths)
    assert pose.isfinite().all(1).tolist() == [True, False, False]
    weights = torch.ones(3, 20, dtype=torch.float64)
    solution = with_released_gradients(pose, pixels, points, K.expand(3, 3, 3), weights)
    assert solution.valid.tolist() == [True, False, False]
    assert torch.equal(solution.camera_from_cloud[1], torch.eye(4, dtype=torch.float64))
    solution.camera_from_cloud.sum().backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()
    assert points.grad.flatten(1).any(1).tolist() == [True, False, False]


def test_vectors_and_matrices_of_poses() -> None:
    vectors = torch.tensor([[0.3, -2.0, 0.5, 1, 2, 3], [0.0, 0, 0, 0, 0, 1]], dtype=torch.float64)
    matrices = pose_matrix(vectors)
    assert torch.allclose(matrices[:, :3, :3] @ matrices[:, :3, :3].mT, torch.eye(3, dtype=torch.float64))
    assert torch.allclose(pose_vector(matrices), vectors)
