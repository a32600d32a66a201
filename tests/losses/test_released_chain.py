"""The released training from matches to the gradient at their points (PnP, rendering, CSD) gives the released
code's numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from golden_prior import golden_prior
from torch import Tensor

from diff2i2p_core.engine.config_file import load_config
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.losses.csd import csd_loss
from diff2i2p_core.losses.distillation import DTYPES
from diff2i2p_core.losses.pose import estimate_poses
from diff2i2p_core.models.features import Correspondences
from diff2i2p_core.ops.pyramid import PointPyramid
from diff2i2p_core.ops.render import render_depth
from diff2i2p_core.pairs.pair import Pair
from diff2i2p_core.pairs.targets import Targets

RELEASED = Path(__file__).parents[2] / "training/configs/7scenes-released.yaml"
SIZE = (480, 640)


@dataclass(frozen=True)
class Chain:
    """What each link gave."""

    pose: Tensor
    depth: Tensor
    loss: Tensor
    points_gradient: Tensor


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> dict[str, np.ndarray]:
    return dict(np.load(golden_dir / "csd.npz"))


@pytest.fixture(scope="module")
def chain(golden_dir: Path, golden: dict[str, np.ndarray]) -> Chain:
    """With the released configuration's settings. Given are only the random draws and the mask."""
    settings = load_config(RELEASED, ["benchmark.root=unused"]).losses
    assert DTYPES[settings.csd.dtype] == torch.float32
    tensor = {name: torch.from_numpy(value) for name, value in golden.items() if value.dtype.kind != "U"}
    points = tensor["x3d"][0].clone().requires_grad_()
    empty = torch.zeros(0, dtype=torch.long)
    matches = Correspondences(
        pixels=tensor["x2d"][0].flip(-1),  # stored as it went into PnP; the released rule swaps them
        points=points,
        scores=torch.ones(len(points)),
        pixel_indices=empty,
        point_indices=empty,
        image_nodes=empty,
        point_nodes=empty,
    )
    poses = estimate_poses([_pair(golden)], [matches], settings.pose)
    assert poses.used.all()
    pose = poses.camera_from_cloud.float()
    rendered = render_depth(
        tensor["points"][None],
        pose,
        tensor["K"][None],
        SIZE,
        released=True,
        blur_sigma=float(golden["blur_sigma"]),
    )
    assert rendered.visible > settings.csd.min_visible
    loss = csd_loss(
        golden_prior(golden_dir),
        rendered.depth,
        tensor["mask64"][0].float(),
        tensor["latents"],
        mode=settings.csd.mode,
        guidance=settings.csd.guidance,
        prompts=settings.csd.prompts,
        timestep=tensor["t"],
        noise=tensor["noise"],
    )
    (gradient,) = torch.autograd.grad(settings.csd.weight * loss, points)
    return Chain(pose[0].detach(), rendered.depth[0].detach(), loss.detach(), gradient)


def _pair(golden: dict[str, np.ndarray]) -> Pair:
    """Only what the poses need."""
    return Pair(
        image=torch.zeros(1, 1, *SIZE),
        image_points=None,
        pyramid=PointPyramid([], [], [], [], []),
        features=torch.zeros(0, 3),
        camera=Camera.from_matrix(golden["K"], SIZE[1], SIZE[0]),
        camera_from_cloud=np.eye(4),
        targets=cast(Targets, None),
        index=0,
        name="golden",
        rgb=torch.zeros(3, *SIZE, dtype=torch.uint8),
    )


def off(actual: Tensor, expected: np.ndarray) -> float:
    """The norm of the difference as a fraction of the norm."""
    reference = torch.from_numpy(expected).to(actual)
    return float((actual - reference).norm() / reference.norm())


def test_pose(chain: Chain, golden: dict[str, np.ndarray]) -> None:
    assert off(chain.pose, golden["transform_pred"]) < 1e-6


def test_rendering(chain: Chain, golden: dict[str, np.ndarray]) -> None:
    assert off(chain.depth, golden["dense_pred"]) < 1e-3


def test_loss(chain: Chain, golden: dict[str, np.ndarray]) -> None:
    assert chain.loss.item() == pytest.approx(float(golden["sds_loss"]), rel=1e-5)


def test_gradient_at_the_points(chain: Chain, golden: dict[str, np.ndarray]) -> None:
    assert off(chain.points_gradient, golden["grad_x3d"][0]) < 1e-3
