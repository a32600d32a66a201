from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from diff2i2p_core.geometry.differentiable_pnp import differentiable_pnp
from diff2i2p_core.geometry.se3 import exp

K = torch.tensor([[585.0, 0.0, 320.0], [0.0, 570.0, 240.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
Scene = tuple[Tensor, Tensor, Tensor, Tensor]


def scene(n: int, *, noise: float = 1.0, outliers: int = 0, seed: int = 0) -> Scene:
    """Pixels (1, N, 2), points (1, N, 3), weights (1, N), true camera_from_cloud (1, 4, 4)."""
    rng = np.random.default_rng(seed)
    pose = torch.from_numpy(exp([0.3, -0.2, 0.4, 0.5, -0.3, 0.6]))
    in_camera = torch.from_numpy(
        np.column_stack([rng.uniform(-1, 1, n), rng.uniform(-0.8, 0.8, n), rng.uniform(1.5, 4, n)])
    )
    points = (in_camera - pose[:3, 3]) @ pose[:3, :3]
    projected = in_camera @ K.T
    pixels = projected[:, :2] / projected[:, 2:] + noise * torch.from_numpy(rng.normal(size=(n, 2)))
    weights = torch.from_numpy(rng.uniform(0.2, 1.0, n))
    if outliers:
        pixels[:outliers] += torch.from_numpy(rng.uniform(60, 200, (outliers, 2)))
    return pixels[None], points[None], weights[None], pose[None]


def objective(pose: Tensor) -> Tensor:
    """A function of all twelve entries of the pose."""
    return (pose[:, :3] * torch.linspace(-1.0, 1.7, 12, dtype=pose.dtype).reshape(3, 4)).sum()


def assert_matches_finite_differences(scene: Scene, threshold: float | None) -> None:
    pixels, points, weights, truth = scene
    tensors = [pixels, points, K[None].clone(), weights]

    def solve(*inputs: Tensor) -> Tensor:
        px, pt, k, w = inputs
        solution = differentiable_pnp(px, pt, k, w, start=truth, inlier_threshold=threshold)
        assert solution.valid.all()
        return objective(solution.camera_from_cloud)

    leaves = [t.clone().requires_grad_() for t in tensors]
    gradients = torch.autograd.grad(solve(*leaves), leaves)
    rng = np.random.default_rng(5)
    entries = {0: pixels.numel(), 1: points.numel(), 3: weights.numel()}
    checks = [(which, int(rng.integers(size))) for which, size in entries.items() for _ in range(12)]
    checks += [(2, entry) for entry in (0, 1, 2, 4, 5)]
    for which, entry in checks:
        h = 1e-5 * max(1.0, float(tensors[which].flatten()[entry].abs()))
        values = []
        for sign in (1, -1):
            moved = [t.clone() for t in tensors]
            moved[which].view(-1)[entry] += sign * h
            values.append(float(solve(*moved)))
        numeric = (values[0] - values[1]) / (2 * h)
        analytic = float(gradients[which].flatten()[entry])
        size = float(gradients[which].abs().max())
        assert analytic == pytest.approx(numeric, rel=1e-4, abs=1e-5 * size), (which, entry)


@pytest.mark.parametrize("n", [6, 60])
def test_gradients_are_those_of_the_whole_solve(n: int) -> None:
    assert_matches_finite_differences(scene(n), threshold=None)


def test_gradients_with_noise_and_outliers_that_move_the_pose() -> None:
    pixels, points, weights, truth = scene(80, noise=2.0, outliers=12)
    weights[:, :12] = 0.01
    assert_matches_finite_differences((pixels, points, weights, truth), threshold=None)


def test_gradients_when_the_threshold_drops_outliers() -> None:
    case = scene(80, noise=1.0, outliers=12)
    assert_matches_finite_differences(case, threshold=20.0)
    pixels, points, weights, truth = (t.clone() for t in case)
    pixels.requires_grad_()
    solution = differentiable_pnp(pixels, points, K, weights, start=truth, inlier_threshold=20.0)
    assert not solution.inliers[0, :12].any()
    assert solution.inliers[0, 12:].all()
    objective(solution.camera_from_cloud).backward()
    assert pixels.grad is not None
    assert (pixels.grad[0, :12] == 0).all()
    assert (pixels.grad[0, 12:] != 0).any()


def test_finds_its_own_start_among_outliers() -> None:
    pixels, points, weights, truth = scene(200, noise=0.5, outliers=100)
    solution = differentiable_pnp(pixels, points, K, weights)
    assert solution.valid.all()
    assert (solution.camera_from_cloud - truth).abs().max() < 5e-3
    rotation = solution.camera_from_cloud[0, :3, :3]
    assert torch.allclose(rotation @ rotation.T, torch.eye(3, dtype=torch.float64), atol=1e-12)


def test_ragged_batch_equals_its_samples_one_by_one() -> None:
    cases = [scene(n, seed=n) for n in (9, 40, 25)]
    pad = torch.nn.utils.rnn.pad_sequence
    pixels, points, weights = (pad([c[i][0] for c in cases], batch_first=True) for i in range(3))
    pixels[0, 9:] = torch.nan
    points[2, 25:] = torch.inf
    pixels.requires_grad_()
    lengths = torch.tensor([9, 40, 25])
    starts = torch.cat([c[3] for c in cases])
    together = differentiable_pnp(
        pixels, points, K.expand(3, 3, 3), weights, lengths=lengths, start=starts, inlier_threshold=None
    )
    assert together.valid.all()
    objective(together.camera_from_cloud).backward()
    assert pixels.grad is not None
    for i, (px, pt, w, start) in enumerate(cases):
        px = px.clone().requires_grad_()
        alone = differentiable_pnp(px, pt, K, w, start=start, inlier_threshold=None)
        assert torch.allclose(alone.camera_from_cloud[0], together.camera_from_cloud[i], atol=1e-9)
        objective(alone.camera_from_cloud).backward()
        assert px.grad is not None
        assert torch.allclose(px.grad[0], pixels.grad[i, : lengths[i]], atol=1e-9)
        assert (pixels.grad[i, lengths[i] :] == 0).all()


def collinear() -> Scene:
    _, _, weights, truth = scene(30, noise=0.3)
    t = torch.linspace(-1, 1, 30, dtype=torch.float64)[:, None]
    in_camera = torch.tensor([0.1, 0.05, 2.5]) + t * torch.tensor([0.6, 0.3, 0.5])
    points = ((in_camera - truth[0, :3, 3]) @ truth[0, :3, :3])[None]
    projected = in_camera @ K.T
    return (projected[:, :2] / projected[:, 2:])[None], points, weights, truth


def degenerate(name: str) -> Scene:
    pixels, points, weights, truth = (t.clone() for t in scene(30, noise=0.3))
    if name == "empty":
        return pixels[:, :0], points[:, :0], weights[:, :0], truth
    if name == "three":
        return pixels[:, :3], points[:, :3], weights[:, :3], truth
    if name == "collinear":
        return collinear()
    if name == "one point repeated":
        return pixels[:, :1].expand(1, 30, 2).clone(), points[:, :1].expand(1, 30, 3).clone(), weights, truth
    if name == "behind":
        behind = truth.clone()
        behind[:, 2, 3] -= 50.0
        return pixels, points, weights, behind
    if name == "NaN everywhere":
        return pixels * torch.nan, points, weights, truth
    if name == "NaN start":
        return pixels, points, weights, truth * torch.nan
    assert name == "no weight"
    return pixels, points, weights * 0, truth


OF_THE_DATA = ["empty", "three", "collinear", "one point repeated", "NaN everywhere", "no weight"]
OF_THE_START = ["behind", "NaN start"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("name", "own_start"),
    [(name, own) for name in OF_THE_DATA for own in (False, True)] + [(name, False) for name in OF_THE_START],
)
def test_degenerate_samples_are_masked_with_zero_gradients(
    name: str, own_start: bool, dtype: torch.dtype
) -> None:
    pixels, points, weights, start = (t.to(dtype) for t in degenerate(name))
    leaves = [t.requires_grad_() for t in (pixels, points, K[None].to(dtype).clone(), weights)]
    solution = differentiable_pnp(*leaves, start=None if own_start else start)
    assert not solution.valid.any()
    assert not solution.inliers.any()
    assert solution.camera_from_cloud.isfinite().all()
    objective(solution.camera_from_cloud).backward()
    for leaf in leaves:
        assert leaf.grad is not None
        assert (leaf.grad == 0).all()


def test_a_degenerate_sample_does_not_touch_its_neighbours() -> None:
    pixels, points, weights, truth = scene(30)
    batch = [
        torch.cat([a, b]).requires_grad_() for a, b in zip(scene(30), degenerate("collinear"), strict=True)
    ]
    solution = differentiable_pnp(batch[0], batch[1], K, batch[2], start=batch[3].detach())
    assert solution.valid.tolist() == [True, False]
    objective(solution.camera_from_cloud).backward()
    alone = pixels.clone().requires_grad_()
    objective(differentiable_pnp(alone, points, K, weights, start=truth).camera_from_cloud).backward()
    assert batch[0].grad is not None
    assert alone.grad is not None
    assert torch.allclose(batch[0].grad[0], alone.grad[0], atol=1e-9)
    assert (batch[0].grad[1] == 0).all()


def test_a_single_nan_correspondence_is_left_out() -> None:
    pixels, points, _, truth = scene(30, noise=0.0)
    pixels[0, 4, 1] = torch.nan
    pixels.requires_grad_()
    solution = differentiable_pnp(pixels, points, K)
    assert solution.valid.all()
    assert not solution.inliers[0, 4]
    assert torch.allclose(solution.camera_from_cloud, truth, atol=1e-8)
    objective(solution.camera_from_cloud).backward()
    assert pixels.grad is not None
    assert pixels.grad.isfinite().all()


def test_points_on_a_plane_are_solved() -> None:
    _, points, _, truth = scene(30, noise=0.0)
    points[..., 2] = 0.4 * points[..., 0] + 2.0
    in_camera = points @ truth[0, :3, :3].T + truth[:, None, :3, 3]
    projected = in_camera @ K.T
    solution = differentiable_pnp(projected[..., :2] / projected[..., 2:], points, K)
    assert solution.valid.all()
    assert torch.allclose(solution.camera_from_cloud, truth, atol=1e-8)


@pytest.mark.parametrize("case", ["uv_clean_500", "uv_noisy_64", "uv_noisy_500"])
def test_pose_of_the_released_solver(case: str, golden_dir: Path) -> None:
    golden = np.load(golden_dir / "bpnp.npz")
    pose = golden[f"{case}__pose"][0].astype(float)
    expected = exp([*pose[:3], 0, 0, 0])
    expected[:3, 3] = pose[3:]
    pixels, points, k = (torch.from_numpy(golden[f"{case}__{name}"]) for name in ("x2d", "x3d", "K"))
    solution = differentiable_pnp(pixels, points, k, inlier_threshold=None)
    assert solution.camera_from_cloud.dtype == torch.float32
    np.testing.assert_allclose(solution.camera_from_cloud[0].numpy(), expected, atol=2e-6)


def test_mixed_precision_rounds_nothing() -> None:
    pixels, points, weights, truth = (t.float() for t in scene(30))
    plain = differentiable_pnp(pixels, points, K, weights, start=truth).camera_from_cloud
    with torch.autocast("cpu", torch.bfloat16):
        mixed = differentiable_pnp(pixels, points, K, weights, start=truth).camera_from_cloud
    assert torch.equal(mixed, plain)
