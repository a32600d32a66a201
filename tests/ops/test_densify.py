from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from diff2i2p_core.ops.densify import _OpenCv, _Torch, densify


def sparse_plane(height: int = 61, width: int = 83, share: float = 0.15, seed: int = 0) -> Tensor:
    """A slanted plane between 2 and 4 m sampled at random pixels (1, H, W), float64."""
    rng = np.random.default_rng(seed)
    plane = 2 + 2 * np.arange(width)[None] / width + 0.001 * rng.random((height, width))
    return torch.from_numpy(np.where(rng.random((height, width)) < share, plane, 0.0))[None]


def test_released_rules_match_the_released_code(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "csd.npz")
    sparse = torch.zeros(1, 480 * 640)
    sparse[0, golden["sparse_idx"]] = torch.from_numpy(golden["sparse_val"])
    dense = densify(sparse.reshape(1, 480, 640), blur_sigma=float(golden["blur_sigma"]), released=True)
    np.testing.assert_allclose(dense[0].numpy(), golden["dense_pred"], atol=2e-5)


@pytest.mark.parametrize("released", [False, True])
def test_gradient_is_that_of_the_function(released: bool) -> None:
    sparse = sparse_plane(24, 31).requires_grad_()
    probe = torch.from_numpy(np.random.default_rng(1).normal(size=sparse.shape))

    def value(depth: Tensor) -> Tensor:
        return (densify(depth, released=released) * probe).sum()

    (gradient,) = torch.autograd.grad(value(sparse), sparse)
    assert (gradient[sparse == 0] == 0).all()
    checked = 0
    for v, u in sparse[0].detach().nonzero().tolist()[::5]:
        h = 1e-7
        up, down = sparse.detach().clone(), sparse.detach().clone()
        up[0, v, u] += h
        down[0, v, u] -= h
        numeric = float(value(up) - value(down)) / (2 * h)
        assert float(gradient[0, v, u]) == pytest.approx(numeric, abs=1e-5)
        checked += numeric != 0
    assert checked > 10


@pytest.mark.parametrize("zero_border", [False, True])
def test_both_backends_filter_alike(zero_border: bool) -> None:
    ranks = torch.from_numpy(np.random.default_rng(2).permutation(2 * 40 * 53).reshape(2, 40, 53)).float()
    ours, theirs = _OpenCv(), _Torch()
    assert torch.equal(ours.diamond(ranks, 3), theirs.diamond(ranks, 3))
    assert torch.equal(ours.largest(ranks, 7), theirs.largest(ranks, 7))
    assert torch.equal(
        ours.smallest(ranks, 5, zero_border=zero_border), theirs.smallest(ranks, 5, zero_border=zero_border)
    )
    assert torch.equal(
        ours.median(ranks, zero_border=zero_border), theirs.median(ranks, zero_border=zero_border)
    )


def test_fills_a_plane_close_to_its_depth() -> None:
    sparse = sparse_plane()
    dense = densify(sparse)
    truth = 2 + 2 * torch.arange(83) / 83
    assert (dense > 0).all()
    assert (dense[0] - truth).abs().mean() < 0.12


def test_closing_agrees_with_scipy() -> None:
    sparse = sparse_plane(share=0.05)[0].numpy()
    near = np.where(sparse > 0, 20 - sparse, 0)
    diamond = np.abs(np.arange(-3, 4))[:, None] + np.abs(np.arange(-3, 4)) <= 3
    near = ndimage.grey_dilation(near, footprint=diamond, mode="constant")
    near = ndimage.grey_dilation(near, size=(5, 5), mode="constant")
    near = ndimage.grey_erosion(near, size=(5, 5), mode="constant", cval=np.inf)
    near = np.where(near == 0, ndimage.grey_dilation(near, size=(7, 7), mode="constant"), near)
    near = ndimage.median_filter(near, size=5, mode="nearest")
    filled = near > 0
    depth = np.where(filled, 20 - near, 0)
    total, weight = (
        ndimage.gaussian_filter(x, 0.8, radius=2, mode="constant") for x in (depth, filled.astype(float))
    )
    expected = np.where(filled, total / np.maximum(weight, 1e-9), 0)
    np.testing.assert_allclose(
        densify(torch.from_numpy(sparse)[None], blur_sigma=0.8)[0], expected, atol=1e-9
    )


def test_holes_close() -> None:
    hole = torch.full((1, 41, 41), 3.0, dtype=torch.float64)
    hole[0, 16:25, 16:25] = 0
    assert torch.allclose(densify(hole), torch.full_like(hole, 3.0))


def test_leaves_its_input_alone_and_far_regions_empty() -> None:
    sparse = torch.zeros(2, 40, 60)
    sparse[1, 10, 10] = 3.0
    before = sparse.clone()
    dense = densify(sparse)
    assert torch.equal(sparse, before)
    assert (dense[0] == 0).all()
    assert dense[1, 10, 10] == pytest.approx(3.0)
    assert (dense[1, :, 30:] == 0).all()


def test_samples_of_a_batch_do_not_mix() -> None:
    batch = torch.cat([sparse_plane(seed=s) * (1 + s) for s in range(3)])
    together = densify(batch)
    for i in range(3):
        assert torch.allclose(together[i], densify(batch[i : i + 1])[0])


def test_released_depths_beyond_its_range_follow_its_rule() -> None:
    """15 m minus 14.95 m is under the released threshold: such pixels are filtered, yet count as empty."""
    sparse = torch.full((1, 30, 30), 14.95)
    assert densify(sparse, released=True).max() < 0.2
