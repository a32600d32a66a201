"""The pose loss on hand-made matches whose pose is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import exp, invert, transform_points
from diff2i2p_core.losses.pose import WORST_DEG, WORST_M, estimate_poses
from diff2i2p_core.losses.registration import RegistrationLoss
from diff2i2p_core.losses.settings import LossSettings, PoseSettings
from diff2i2p_core.models.features import Correspondences
from diff2i2p_core.ops.pyramid import PointPyramid
from diff2i2p_core.pairs.pair import Pair
from diff2i2p_core.pairs.targets import Targets

CAMERA = Camera(320, 240, 290, 290, 159.5, 119.5)


def make_pair(seed: int) -> Pair:
    """Only what the pose loss uses: camera and truth."""
    turn = np.random.default_rng([seed, 1]).normal(0, 0.3, 6)
    return Pair(
        image=torch.zeros(1, 3, 240, 320),
        image_points=None,
        pyramid=PointPyramid([], [], [], [], []),
        features=torch.zeros(0, 1),
        camera=CAMERA,
        camera_from_cloud=exp(turn),
        targets=cast(Targets, None),
        index=seed,
        name=f"made/{seed}",
        rgb=torch.zeros(3, 240, 320, dtype=torch.uint8),
    )


def make_matches(pair: Pair, count: int, noise: float = 0.0, wrong: int = 0) -> Correspondences:
    """Points seen at random pixels, moved by `noise` metres; the first `wrong` lie anywhere."""
    rng = np.random.default_rng([pair.index, 2])
    u, v, z = rng.uniform((0, 0, 1.5), (319, 239, 4), (count, 3)).T
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones(count)], axis=1)
    points = transform_points(invert(pair.camera_from_cloud), rays * z[:, None])
    points += rng.normal(0, noise, points.shape) if noise else 0
    points[:wrong] = rng.uniform(-2, 2, (wrong, 3))
    scores = rng.uniform(0.5, 1, count)
    empty = torch.zeros(0, dtype=torch.long)
    return Correspondences(
        pixels=torch.from_numpy(np.stack([u, v], axis=1)).float(),
        points=torch.from_numpy(points).float().requires_grad_(),
        scores=torch.from_numpy(scores).float().requires_grad_(),
        pixel_indices=empty,
        point_indices=empty,
        image_nodes=empty,
        point_nodes=empty,
    )


def terms(
    pairs: Sequence[Pair], matches: Sequence[Correspondences], pose: PoseSettings | None = None
) -> dict[str, Tensor]:
    settings = LossSettings(pose=pose or PoseSettings())
    return RegistrationLoss(settings, seed=0)(pairs, [], matches, epoch=1)


def test_true_matches_give_the_true_pose() -> None:
    pairs = [make_pair(i) for i in range(3)]
    result = terms(pairs, [make_matches(pair, 30 + 20 * i, wrong=5) for i, pair in enumerate(pairs)])
    assert result["loss"].item() < 1e-4
    assert result["pose_found"] == result["pose_used"] == 1
    assert result["pose_deg"] < 1e-3
    assert result["pose_m"] < 1e-4


@pytest.mark.parametrize("of", ["points", "scores"])
def test_steps_along_the_gradient_lower_the_pose_error(of: str) -> None:
    """With fixed points, as without tuning, the scores alone must lower the error; with fixed scores, the
    points alone."""
    pairs = [make_pair(i) for i in range(4)]
    matches = [make_matches(pair, 200, noise=0.03, wrong=20) for pair in pairs]
    free = [getattr(m, of) for m in matches]
    optimizer = torch.optim.Adam(free, lr=0.02 if of == "scores" else 0.002)
    losses = []
    for _ in range(10):
        result = terms(pairs, matches)
        losses.append(result["loss"].item())
        optimizer.zero_grad()
        result["loss"].backward()
        optimizer.step()
    assert losses[-1] < 0.6 * losses[0]


def test_a_batch_is_the_mean_of_its_parts() -> None:
    """Several processes that share a batch give the same as one."""
    pairs = [make_pair(i) for i in range(4)]
    matches = [make_matches(pair, 20 + 40 * i, noise=0.02, wrong=8) for i, pair in enumerate(pairs)]
    matches[1] = make_matches(pairs[1], 3)  # no pose
    leaves = [m.scores for m in matches]
    whole = terms(pairs, matches)
    gradients = torch.autograd.grad(whole["loss"], leaves)
    halves = [terms(pairs[:2], matches[:2]), terms(pairs[2:], matches[2:])]
    for name, value in whole.items():
        assert value.item() == pytest.approx(0.5 * (halves[0][name] + halves[1][name]).item(), rel=1e-5)
    split = torch.autograd.grad(0.5 * (halves[0]["loss"] + halves[1]["loss"]), leaves)
    for one, other in zip(gradients, split, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-8)
    assert not gradients[1].any()
    assert gradients[0].any()
    assert whole["pose_found"] == 0.75


def test_a_pose_far_from_the_truth_gives_no_gradient() -> None:
    pair = make_pair(0)
    moved = replace(pair, camera_from_cloud=exp([0, 0, 0, 2.0, 0, 0]) @ pair.camera_from_cloud)
    matches = make_matches(moved, 100, noise=0.01)  # they agree, on a wrong pose
    gated = terms([pair], [matches])
    assert gated["loss"] == 0
    assert (gated["pose_found"], gated["pose_used"], gated["pose_m"]) == (1, 0, WORST_M)
    for gradient in torch.autograd.grad(gated["loss"], (matches.points, matches.scores)):
        assert not gradient.any()
    ungated = terms([pair], [matches], PoseSettings(gate_deg=None, gate_m=None))
    assert ungated["loss"].item() == pytest.approx(2, abs=0.05)
    assert torch.autograd.grad(ungated["loss"], matches.points)[0].any()


@pytest.mark.parametrize("count", [0, 3])
def test_without_a_pose_the_loss_is_zero_and_has_gradients(count: int) -> None:
    pair = make_pair(0)
    matches = make_matches(pair, count)
    result = terms([pair], [matches])
    assert result["loss"] == result["pose_found"] == 0
    assert (result["pose_deg"], result["pose_m"]) == (WORST_DEG, WORST_M)
    for gradient in torch.autograd.grad(result["loss"], (matches.points, matches.scores)):
        assert gradient.shape[0] == count
        assert not gradient.any()


def test_swapped_pixels_give_a_pose_far_off() -> None:
    """docs/method.md R21, on matches whose pose is exact in the right order."""
    pair = make_pair(0)
    matches = make_matches(pair, 300)
    swapped = PoseSettings(
        pixel_order="row_column", inlier_px=None, score_temperature=None, gate_deg=None, gate_m=None
    )
    result = terms([pair], [matches], swapped)
    assert result["pose_m"] == WORST_M
    assert result["loss"].isfinite()


def test_weights_of_angle_and_displacement() -> None:
    pair = make_pair(0)
    matches = make_matches(pair, 60, noise=0.03)
    result = terms([pair], [matches], PoseSettings(rotation_weight=2, translation_weight=5))
    expected = 2 * result["rotation"] + 5 * result["translation"]
    assert result["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_matches_beyond_the_threshold_do_not_pull_the_pose() -> None:
    pair = make_pair(0)
    matches = make_matches(pair, 100, noise=0.002, wrong=15)
    inliers, every = (
        terms([pair], [matches], PoseSettings(inlier_px=limit, gate_deg=None, gate_m=None))["pose_m"]
        for limit in (8.0, None)
    )
    assert 10 * inliers < every


def test_without_a_score_temperature_only_points_learn() -> None:
    pair = make_pair(0)
    for temperature in (0.1, None):
        matches = make_matches(pair, 60, noise=0.03)
        terms([pair], [matches], PoseSettings(score_temperature=temperature))["loss"].backward()
        assert matches.points.grad is not None and matches.points.grad.any()
        learns = matches.scores.grad is not None and bool(matches.scores.grad.any())
        assert learns == (temperature is not None)


def test_only_the_best_matches_take_part() -> None:
    pair = make_pair(0)
    matches = make_matches(pair, 60, noise=0.02)
    result = terms([pair], [matches], PoseSettings(max_matches=20))
    (gradient,) = torch.autograd.grad(result["loss"], matches.points)
    best = matches.scores.argsort(descending=True)[:20]
    others = torch.ones(60, dtype=torch.bool).index_fill(0, best, False)
    assert gradient[best].any()
    assert not gradient[others].any()


def test_mixed_precision_rounds_nothing() -> None:
    pair = make_pair(0)
    matches = make_matches(pair, 60, noise=0.02)
    plain = terms([pair], [matches])
    with torch.autocast("cpu", torch.bfloat16):
        mixed = terms([pair], [matches])
    assert torch.equal(plain["loss"], mixed["loss"])


@pytest.mark.parametrize("start", ["robust", "released"])
def test_released_gradient(start: str) -> None:
    """It is about the exact one, off by 1 to 50 %, and belongs to the same pose."""
    pair = make_pair(0)
    matches = make_matches(pair, 200, noise=0.01)
    ways = [
        PoseSettings(inlier_px=None, score_temperature=None, start=start, gradient=gradient)  # type: ignore[arg-type]
        for gradient in ("exact", "released")
    ]
    poses = [estimate_poses([pair], [matches], way) for way in ways]
    exact, released = (torch.autograd.grad(p.camera_from_cloud[0, 0, 3], matches.points)[0] for p in poses)
    assert (poses[0].camera_from_cloud - poses[1].camera_from_cloud).abs().max() < 1e-4
    assert 0.01 < (exact - released).norm() / exact.norm() < 0.5


def test_released_start_is_the_pose_of_all_matches_that_opencv_gives() -> None:
    """The other start leaves out those behind its camera, and ends in another minimum."""
    pair = make_pair(0)
    matches = make_matches(pair, 100, wrong=30)
    common = {"inlier_px": None, "score_temperature": None}
    ways: tuple[dict[str, str], ...] = (
        {},
        {"start": "released"},
        {"start": "released", "gradient": "released"},
    )
    poses = [
        estimate_poses([pair], [matches], PoseSettings.model_validate({**common, **way})) for way in ways
    ]
    pixels, points = matches.pixels.numpy(), matches.points.detach().numpy()
    flags = cv2.SOLVEPNP_ITERATIVE
    _, turn, shift, _ = cv2.solvePnPRansac(
        points, pixels, CAMERA.matrix, None, flags=flags, confidence=0.9999, reprojectionError=1
    )
    _, turn, shift = cv2.solvePnP(points, pixels, CAMERA.matrix, None, turn, shift, True, flags)
    expected = np.concatenate([cv2.Rodrigues(turn)[0], shift], axis=1)
    errors = [np.abs(p.camera_from_cloud[0, :3].detach().numpy() - expected).max() for p in poses]
    assert errors[2] < 1e-5
    assert errors[0] > 0.1


def test_only_the_best_matches_take_part_in_the_released_start() -> None:
    pair = make_pair(0)
    matches = make_matches(pair, 60, noise=0.002)
    settings = PoseSettings(max_matches=20, start="released", gradient="released", score_temperature=0.1)
    poses = estimate_poses([pair], [matches], settings)
    gradients = torch.autograd.grad(poses.camera_from_cloud.sum(), (matches.points, matches.scores))
    best = matches.scores.argsort(descending=True)[:20]
    others = torch.ones(60, dtype=torch.bool).index_fill(0, best, False)
    for gradient in gradients:
        assert gradient[best].any()
        assert not gradient[others].any()
