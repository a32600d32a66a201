"""How many features are found where a pose predicts them: all at the right pose, few at a wrong one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pretended_gpu import pretended_gpu

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import compose, transform_points
from diff2i2p_core.localization.local_agreement import local_agreement
from diff2i2p_core.mapping.packed_views import ViewFeatures

CAMERA = Camera(320, 240, 260, 260, 159.5, 119.5)
POSE = compose(np.eye(3), [0.1, -0.2, 0.3])


def dense() -> torch.Tensor:
    """Other descriptors in each cell of 4 pixels; also in some beyond the image, as a network pads it."""
    return F.normalize(torch.randn(64, 80, 64, generator=torch.Generator().manual_seed(0)), dim=2)


def view_of(image: torch.Tensor, count: int = 700) -> ViewFeatures:
    """Points that `POSE` projects to centres of cells, with the descriptors of these."""
    rng = np.random.default_rng(0)
    column, row = rng.integers(80, size=count), rng.integers(60, size=count)
    pixels = np.stack([column, row], axis=1) * 4 + 1.5
    seen = CAMERA.unproject(pixels, rng.uniform(1, 4, count))
    points = transform_points(np.linalg.inv(POSE), seen)
    return ViewFeatures(points, image[row, column].half())


def test_all_features_are_where_the_right_pose_predicts_them() -> None:
    image = dense()
    assert local_agreement(image, CAMERA, view_of(image), POSE) == 1.0


@pytest.mark.parametrize(("shift_px", "least", "most"), [(3, 0.9, 1.0), (12, 0.0, 0.25), (60, 0.0, 0.25)])
def test_they_are_not_where_a_turned_pose_predicts_them(shift_px: float, least: float, most: float) -> None:
    image = dense()
    angle = shift_px / 260
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    found = local_agreement(image, CAMERA, view_of(image), compose(turn, [0, 0, 0]) @ POSE)
    assert least <= found <= most


def test_other_features_agree_by_chance_only() -> None:
    view = view_of(dense())
    other = F.normalize(torch.randn(64, 80, 64, generator=torch.Generator().manual_seed(1)), dim=2)
    assert 0.05 < local_agreement(other, CAMERA, view, POSE) < 0.2


def test_nothing_agrees_where_the_image_shows_nothing_of_the_view() -> None:
    image = dense()
    behind = compose(np.diag([-1.0, 1.0, -1.0]), [0, 0, 0]) @ POSE
    assert local_agreement(image, CAMERA, view_of(image), behind) == 0.0


def test_the_image_may_be_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    image = dense()
    with pretended_gpu(monkeypatch):
        assert local_agreement(image.to("cuda"), CAMERA, view_of(image), POSE) == 1.0
