from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from diff2i2p_core.geometry.se3 import exp, invert, rotation_error_deg
from diff2i2p_core.losses.pose import pose_errors, rotation_angle


def poses(*twists: list[float]) -> Tensor:
    return torch.from_numpy(np.stack([exp(t) for t in twists]))


def test_errors_are_the_angle_and_the_camera_distance() -> None:
    truth = exp([0.4, -0.2, 0.9, 1.0, 2.0, -0.5])
    estimate = exp([0.1, 0.3, -0.2, 0.3, -0.4, 0.2]) @ truth
    loss = pose_errors(torch.from_numpy(estimate)[None], torch.from_numpy(truth)[None])
    assert np.degrees(float(loss.rotation)) == pytest.approx(rotation_error_deg(estimate, truth), rel=1e-9)
    distance = np.linalg.norm(invert(estimate)[:3, 3] - invert(truth)[:3, 3])
    assert float(loss.translation.detach()) == pytest.approx(distance, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_zero_error_loss_and_gradient_are_zero(dtype: torch.dtype) -> None:
    truth = poses([0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 2, 3]).to(dtype)
    estimate = truth.clone().requires_grad_()
    loss = pose_errors(estimate, truth)
    assert not loss.rotation.any()
    assert not loss.translation.any()
    (loss.rotation + loss.translation).sum().backward()
    assert estimate.grad is not None
    assert estimate.grad.isfinite().all()


@pytest.mark.parametrize("angle", [1e-6, 1e-3, 1.0, 3.1415])
def test_angle_and_its_gradient_hold_from_tiny_to_half_a_turn(angle: float) -> None:
    axis = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)

    def rotated(size: Tensor) -> Tensor:
        x, y, z = axis * size
        zero = torch.zeros((), dtype=torch.float64)
        generator = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
        moved: Tensor = torch.linalg.matrix_exp(generator)[None]
        return moved

    size = torch.tensor(angle, dtype=torch.float64, requires_grad=True)
    value = rotation_angle(rotated(size), torch.eye(3, dtype=torch.float64)[None])
    value.sum().backward()
    assert float(value.detach()) == pytest.approx(angle, rel=1e-6)
    assert float(size.grad) == pytest.approx(1.0, rel=1e-4)  # type: ignore[arg-type]


def test_invalid_samples_take_no_part() -> None:
    truth = poses([0, 0, 0, 0, 0, 0], [0, 0, 0.2, 0, 0, 0])
    estimate = poses([0, 0, 0.1, 0, 0, 0.3], [0, 0, 0, 5, 5, 5])
    estimate[1] = torch.nan
    estimate.requires_grad_()
    loss = pose_errors(estimate, truth, torch.tensor([True, False]))
    assert loss.rotation.tolist() == pytest.approx([0.1, 0])
    assert loss.translation.tolist() == pytest.approx([0.3, 0])
    (loss.rotation + loss.translation).sum().backward()
    assert estimate.grad is not None
    assert estimate.grad.isfinite().all()
    assert (estimate.grad[1] == 0).all()
    none = pose_errors(estimate, truth, torch.tensor([False, False]))
    assert not none.rotation.any()
    assert not none.translation.any()
    none.rotation.sum().backward()


def test_mixed_precision_rounds_nothing() -> None:
    truth = poses([0.4, -0.2, 0.9, 1.0, 2.0, -0.5]).float()
    estimate = poses([0.4, -0.2, 0.901, 1.001, 2.0, -0.5]).float()
    plain = pose_errors(estimate, truth)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = pose_errors(estimate, truth)
    assert torch.equal(mixed.rotation, plain.rotation)
    assert torch.equal(mixed.translation, plain.translation)
