from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from diff2i2p_core.geometry.se3 import exp
from diff2i2p_core.ops.render import render_depth

K = torch.tensor([[580.0, 0.0, 319.5], [0.0, 580.0, 239.5], [0.0, 0.0, 1.0]], dtype=torch.float64)


def wavy_wall(n: int = 12000) -> tuple[Tensor, Tensor]:
    """Points (1, N, 3) and a pose (1, 4, 4) that sees them all, 1.5 to 3.5 m away."""
    rng = np.random.default_rng(0)
    u, v = rng.uniform(0, 639, n), rng.uniform(0, 479, n)
    z = 2.5 + np.sin(u / 90) * np.cos(v / 70)
    in_camera = np.stack([(u - 319.5) / 580 * z, (v - 239.5) / 580 * z, z], axis=-1)
    camera_from_cloud = exp([0.2, -0.4, 0.1, 0.5, 0.3, -0.2])
    points = (in_camera - camera_from_cloud[:3, 3]) @ camera_from_cloud[:3, :3]
    return torch.from_numpy(points)[None], torch.from_numpy(camera_from_cloud)[None]


def test_shows_the_surface_at_a_quarter_of_the_size() -> None:
    points, pose = wavy_wall()
    depth, visible = render_depth(points, pose, K[None], (480, 640))
    assert depth.shape == (1, 120, 160)
    assert float(visible) == 1
    u, v = (np.arange(160) + 0.5) * 4 - 0.5, (np.arange(120) + 0.5) * 4 - 0.5
    truth = 2.5 + np.sin(u / 90) * np.cos(v[:, None] / 70)
    assert (depth[0] - torch.from_numpy(truth)).abs().median() < 0.05


def test_unlike_the_released_rendering_the_whole_pose_gets_gradients() -> None:
    points, pose = wavy_wall()
    gradients = {}
    for released in (False, True):
        leaf = pose.clone().requires_grad_()
        depth = render_depth(points, leaf, K[None], (480, 640), released=released).depth
        (gradients[released],) = torch.autograd.grad(depth.square().sum(), leaf)
    assert (gradients[True][0, :2] == 0).all()
    assert (gradients[True][0, 2] != 0).all()
    assert (gradients[False][0, :3].abs() > 1e-2).all()


def test_descending_the_depth_error_moves_the_camera_back_sideways() -> None:
    """From 3 cm off in x, the gradient of the error against the true render points the right way."""
    points, pose = wavy_wall()
    target = render_depth(points, pose, K[None], (480, 640)).depth
    for axis in (0, 1, 2):
        moved = pose.clone()
        moved[0, axis, 3] += 0.03
        moved.requires_grad_()
        depth = render_depth(points, moved, K[None], (480, 640)).depth
        (gradient,) = torch.autograd.grad((depth - target).square().sum(), moved)
        assert gradient[0, axis, 3] > 0


def test_the_visible_fraction_counts_points_in_the_image() -> None:
    points, pose = wavy_wall()
    half = pose.clone()
    half[:, 0, 3] += 1.5
    assert 0.1 < float(render_depth(points, half, K[None], (480, 640)).visible) < 0.6
    away = pose.clone()
    away[:, 2, 3] -= 20
    nothing = render_depth(points, away, K[None], (480, 640))
    assert float(nothing.visible) == 0
    assert (nothing.depth == 0).all()


@pytest.mark.parametrize("size", [(240, 320), (301, 517)])
def test_any_image_size(size: tuple[int, int]) -> None:
    points, pose = wavy_wall(2000)
    depth = render_depth(points, pose, K[None], size, scale=0.25).depth
    assert depth.shape == (1, round(size[0] / 4), round(size[1] / 4))


def test_mixed_precision_rounds_nothing() -> None:
    points, pose = (t.float() for t in wavy_wall(2000))
    plain = render_depth(points, pose, K[None].float(), (240, 320)).depth
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(render_depth(points, pose, K[None].float(), (240, 320)).depth, plain)
