from __future__ import annotations

import importlib.util
import sys
import types

import numpy as np
import pytest
import torch
from torch import Tensor

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import exp
from diff2i2p_core.ops.splat import scaled_intrinsics, splat_depth
from diff2i2p_core.ops.z_buffer import z_buffer

K = torch.tensor([[40.0, 0.0, 19.3], [0.0, 41.0, 14.6], [0.0, 0.0, 1.0]], dtype=torch.float64)
SIZE = (30, 40)


def corner(n: int = 3000, seed: int = 0) -> Tensor:
    """Points (1, N, 3) on two walls and a box in front of them, in the camera frame."""
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(-1.2, 1.2, n), rng.uniform(-0.9, 0.9, n)
    z = np.where(u < 0.3, 2.2 + 0.5 * u, 2.8 - 1.1 * u) + 0.2 * v
    z[: n // 6] = 1.3 + 0.3 * v[: n // 6]
    u[: n // 6] *= 0.3
    return torch.from_numpy(np.stack([u * z / 2, v * z / 2, z], axis=-1))[None]


def moved(points: Tensor, twist: Tensor) -> Tensor:
    """exp(twist) applied to first order and a bit: enough for any smooth path through the pose."""
    moved: Tensor = points + torch.linalg.cross(twist[:3].expand_as(points), points) + twist[3:]
    return moved


@pytest.mark.parametrize("gamma", [0.02, 0.3])
def test_gradients_to_all_six_pose_parameters(gamma: float) -> None:
    points = corner()
    probe = torch.from_numpy(np.random.default_rng(3).normal(size=(2, 1, *SIZE)))

    def value(twist: Tensor) -> Tensor:
        soft = splat_depth(moved(points, twist), K, SIZE, gamma=gamma)
        return (soft.depth * probe[0] + soft.coverage * probe[1]).sum()

    twist = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(value(twist), twist)
    assert (gradient.abs() > 1e-3).all()
    for i in range(6):
        step = torch.zeros(6, dtype=torch.float64)
        step[i] = 1e-8
        numeric = float(value(step) - value(-step)) / 2e-8
        assert float(gradient[i]) == pytest.approx(numeric, rel=1e-4, abs=1e-3)


def test_depth_alone_moves_with_the_sideways_shift_of_a_slope() -> None:
    """On a slope z = 2 + a x the rendered depth must answer to t_x like the surface does: by about -a."""
    rng = np.random.default_rng(0)
    u, v = rng.uniform(-2, 42, 30000), rng.uniform(-2, 32, 30000)
    ray = (u - 19.3) / 40
    slope = 0.5
    z = 2 / (1 - slope * ray)
    points = torch.from_numpy(np.stack([ray * z, (v - 14.6) / 41 * z, z], axis=-1))[None]
    shift = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    depth = splat_depth(points + shift, K, SIZE).depth[0, 5:-5, 5:-5]
    depth.mean().backward()
    with torch.no_grad():
        # Shifting the surface by dx lowers its depth along a fixed ray by slope dx / (1 - slope ray).
        columns = (torch.arange(5, 35, dtype=torch.float64) - 19.3) / 40
        expected = float((-slope / (1 - slope * columns)).mean())
    assert shift.grad is not None
    assert float(shift.grad[0]) == pytest.approx(expected, rel=0.15)


def test_small_gamma_approaches_the_hard_z_buffer() -> None:
    points = corner(20000)
    soft = splat_depth(points, K, SIZE, gamma=1e-3).depth
    hard, _ = z_buffer(points, K, SIZE)
    both = (soft > 0) & (hard > 0)
    assert both.float().mean() > 0.5
    assert (soft <= hard + 0.01)[
        both
    ].float().mean() > 0.99  # its footprint also takes the neighbours' nearest
    assert (soft - hard)[both].abs().median() < 0.03


def test_broken_and_hidden_points_neither_render_nor_get_gradients() -> None:
    points = corner(50).float()
    extra = torch.tensor(
        [[torch.nan, 0, 1], [0, 0, -2], [0, 0, 0], [1e9, 0, 1], [0, torch.inf, 2], [0, 0, 0.01]]
    )
    plain = splat_depth(points, K.float(), SIZE)
    leaf = torch.cat([points, extra[None]], dim=1).requires_grad_()
    soft = splat_depth(leaf, K.float(), SIZE)
    assert torch.equal(soft.depth, plain.depth)
    soft.depth.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    assert (leaf.grad[0, 50:] == 0).all()


def test_no_points_give_an_empty_map() -> None:
    soft = splat_depth(torch.zeros(2, 0, 3), K.float(), SIZE)
    assert soft.depth.shape == (2, *SIZE)
    assert (soft.depth == 0).all()


def test_samples_of_a_batch_do_not_mix() -> None:
    batch = torch.cat([corner(seed=s) for s in range(3)])
    intrinsics = torch.stack([K, K * torch.tensor([[1.2], [1.0], [1.0]]), K])
    together = splat_depth(batch, intrinsics, SIZE)
    for i in range(3):
        alone = splat_depth(batch[i : i + 1], intrinsics[i], SIZE)
        assert torch.allclose(together.depth[i], alone.depth[0])


def test_scaled_intrinsics_keep_the_rays_of_pixel_areas() -> None:
    half = scaled_intrinsics(K, 0.5, 0.25)
    corner_ray = torch.tensor([(-0.5 - 19.3) / 40, (-0.5 - 14.6) / 41, 1.0], dtype=torch.float64)
    assert torch.allclose(half @ corner_ray, torch.tensor([-0.5, -0.5, 1.0], dtype=torch.float64))


def test_an_unknown_or_missing_backend_is_named() -> None:
    with pytest.raises(InputError, match="use one of auto"):
        splat_depth(corner(), K, SIZE, backend="opengl")
    if importlib.util.find_spec("pytorch3d") is None:
        with pytest.raises(InputError, match="not installed"):
            splat_depth(corner(), K, SIZE, backend="pytorch3d")


def assert_backends_agree() -> None:
    """On a surface seen by several points a pixel: 1 cm in the median and 10 cm in 95 % of the pixels."""
    points = corner(4000).float()
    ours = splat_depth(points, K.float(), SIZE, backend="torch").depth
    theirs = splat_depth(points, K.float(), SIZE, backend="pytorch3d").depth
    both = (ours > 0) & (theirs > 0)
    assert both.float().mean() > 0.5
    assert ((ours > 0) == (theirs > 0)).float().mean() > 0.95
    assert (ours - theirs)[both].abs().median() < 0.01
    assert (ours - theirs)[both].abs().quantile(0.95) < 0.1


def test_pytorch3d_agrees() -> None:
    pytest.importorskip("pytorch3d", reason="pytorch3d is not installed (it has no CPU wheel)")
    assert_backends_agree()


def test_pytorch3d_conventions_on_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our use of its coordinates, checked on a small rasterizer that follows its documentation."""
    if importlib.util.find_spec("pytorch3d") is not None:
        pytest.skip("pytorch3d is installed: the real one is tested")

    class Pointclouds:
        def __init__(self, points: list[Tensor]) -> None:
            self.points = points

    def rasterize_points(
        clouds: Pointclouds, image_size: tuple[int, int], radius: float, points_per_pixel: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        height, width = image_size
        shorter = min(image_size)
        xs = (width - 1 - torch.arange(width) + 0.5) * 2 / shorter - width / shorter  # +x points left
        ys = (height - 1 - torch.arange(height) + 0.5) * 2 / shorter - height / shorter  # +y points up
        x, y, z = clouds.points[0].unbind(-1)
        distance2 = (ys[:, None, None] - y) ** 2 + (xs[None, :, None] - x) ** 2
        depth = torch.where((distance2 < radius**2) & (z >= 0), z, torch.inf)
        z_sorted, index = depth.sort(dim=-1)
        z_sorted, index = z_sorted[..., :points_per_pixel], index[..., :points_per_pixel]
        hit = z_sorted.isfinite()
        d2 = torch.where(hit, distance2.gather(-1, index), -1)
        return torch.where(hit, index, -1)[None], torch.where(hit, z_sorted, -1)[None], d2[None]

    package = types.ModuleType("pytorch3d")
    package.__spec__ = importlib.machinery.ModuleSpec("pytorch3d", None)
    structures = types.ModuleType("pytorch3d.structures")
    rasterizer = types.ModuleType("pytorch3d.renderer.points.rasterize_points")
    structures.Pointclouds = Pointclouds  # type: ignore[attr-defined]
    rasterizer.rasterize_points = rasterize_points  # type: ignore[attr-defined]
    for module in (package, structures, rasterizer):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for parent in ("pytorch3d.renderer", "pytorch3d.renderer.points"):
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    assert_backends_agree()


def test_moved_helper_is_a_rigid_motion_to_first_order() -> None:
    twist = torch.tensor([1e-4, -2e-4, 3e-4, 0.1, 0.2, -0.1], dtype=torch.float64)
    points = corner(10)
    rigid = torch.from_numpy(exp(twist.numpy()))
    assert torch.allclose(moved(points, twist), points @ rigid[:3, :3].T + rigid[:3, 3], atol=1e-6)
