"""Searches by kernel and by all distances find what a KD-tree finds; the grid's means are the CPU's."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from diff2i2p_core.geometry.voxels import voxel_means
from diff2i2p_core.ops.grid import grid_subsample
from diff2i2p_core.ops.neighbors import DenseSearch, neighbor_search
from diff2i2p_core.ops.pyramid import build_pyramid, pack_pyramids


@pytest.fixture(autouse=True)
def large_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter takes a program's time however many queries it has."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        kernels = pytest.importorskip("diff2i2p_core.ops.kernels.neighbors", exc_type=ImportError)
        monkeypatch.setattr(kernels, "QUERIES", 64)


def clouds(*lengths: int) -> Tensor:
    """Packed noisy surfaces, one over the other, of one point an area of 1, far from the origin."""
    rng = np.random.default_rng(0)
    parts = []
    for length in lengths:
        part = rng.uniform(0, length**0.5, (length, 3))
        part[:, 2] = np.sin(part[:, 0]) + rng.normal(0, 0.2, length) - 70
        parts.append(part)
    return torch.from_numpy(np.concatenate(parts).astype(np.float32))


def assert_same_neighbors(mine: Tensor, reference: Tensor, queries: Tensor, supports: Tensor) -> None:
    """The same distances; ties may be in a different order."""

    def distances(table: Tensor) -> Tensor:
        padded = torch.cat([supports, supports.new_full((1, 3), 1e3)])
        distances: Tensor = (padded[table] - queries[:, None]).norm(dim=-1)
        return distances

    assert mine.dtype == torch.int64
    assert torch.equal(mine == len(supports), reference == len(supports))
    torch.testing.assert_close(distances(mine), distances(reference), rtol=1e-5, atol=1e-5)
    assert all(len(set(row)) == len(row) for row in (r[r < len(supports)].tolist() for r in mine))


@pytest.mark.parametrize(("limit", "radius"), [(5, 2.5), (30, 2.5), (30, float("inf"))])
def test_finds_what_the_tree_finds(
    kernel_device: str, monkeypatch: pytest.MonkeyPatch, limit: int, radius: float
) -> None:
    supports, lengths = clouds(120, 60), (120, 60)
    queries, asked = torch.cat([clouds(50) + 0.3, clouds(21), torch.tensor([[1e3, -1e3, 0]])]), (50, 22)
    mine = neighbor_search(supports.to(kernel_device), radius, lengths)(
        queries.to(kernel_device), limit, asked
    )
    monkeypatch.setenv("DIFF2I2P_OPS", "torch")
    tree = neighbor_search(supports, radius, lengths)(queries, limit, asked)
    dense = DenseSearch(supports, radius, lengths)(queries, limit, asked)
    assert (tree[:, 0] < 180).sum() > 60
    assert (tree[:50] < 120).sum() + (tree[:50] == 180).sum() == tree[:50].numel()
    assert_same_neighbors(mine.cpu(), tree, queries, supports)
    assert_same_neighbors(dense, tree, queries, supports)


def test_nothing_is_near_an_empty_cloud(kernel_device: str) -> None:
    nothing = torch.zeros(0, 3, device=kernel_device)
    table = neighbor_search(nothing, 1.0, [0])(torch.zeros(2, 3, device=kernel_device), 3, [2])
    assert table.tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize("ops", ["triton", "torch"])
def test_means_are_those_of_voxel_means(
    kernel_device: str, monkeypatch: pytest.MonkeyPatch, ops: str
) -> None:
    monkeypatch.setenv("DIFF2I2P_OPS", ops)
    points = clouds(300, 100)
    means, lengths = grid_subsample(points.to(kernel_device), 1.7, [300, 0, 100])
    expected = [voxel_means(part.numpy(), 1.7) for part in (points[:300], points[300:])]
    assert lengths == [len(expected[0]), 0, len(expected[1])]
    np.testing.assert_allclose(means.cpu(), np.concatenate(expected), rtol=1e-7, atol=0)


def test_pyramid_of_a_pack_is_the_pack_of_pyramids(
    kernel_device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    points, limits = clouds(60, 35), (9, 12, 5)
    pyramid = build_pyramid(points.to(kernel_device), 1.0, limits, [60, 35])
    assert pyramid.upsampling[0].device == pyramid.points[0].device
    monkeypatch.setenv("DIFF2I2P_OPS", "torch")
    packed = pack_pyramids([build_pyramid(part, 1.0, limits) for part in points.split([60, 35])])
    assert pyramid.lengths == packed.lengths
    for mine, reference in zip(pyramid.points, packed.points, strict=True):
        torch.testing.assert_close(mine.cpu(), reference, rtol=1e-7, atol=0)
    p = packed.points
    for i in range(3):
        assert_same_neighbors(pyramid.neighbors[i].cpu(), packed.neighbors[i], p[i], p[i])
    for i in range(2):
        assert_same_neighbors(pyramid.subsampling[i].cpu(), packed.subsampling[i], p[i + 1], p[i])
        assert_same_neighbors(pyramid.upsampling[i].cpu(), packed.upsampling[i], p[i], p[i + 1])


def launches() -> None:
    """Everything that building a pyramid launches, for the networks' limits."""
    points = clouds(500)
    for limit in (20, 51):
        neighbor_search(points, 2.5, [500])(points, limit, [500])
    grid_subsample(points, 2.0, [500])


@pytest.mark.slow
def test_compiles_for_a_gpu(compile_launches: Callable[..., list[dict[str, Any]]]) -> None:
    kernels = compile_launches("test_neighbor_kernels:launches")
    assert {kernel["name"] for kernel in kernels} == {"_search", "_segment_means"}
    for kernel in kernels:
        assert kernel["spilled"] == 0
        assert kernel["shared"] <= 48 * 1024
