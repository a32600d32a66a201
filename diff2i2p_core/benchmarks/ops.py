"""Compares each op's Triton kernel with its torch reference. Without a GPU, only references are run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F

from diff2i2p_core.benchmarks.measure import Case
from diff2i2p_core.benchmarks.pairs import wall_pair
from diff2i2p_core.benchmarks.training import densify_work, splat_work, z_buffer_work
from diff2i2p_core.benchmarks.views import description_work, view_work
from diff2i2p_core.models.released import released_config
from diff2i2p_core.ops.backend import VARIABLE
from diff2i2p_core.ops.grid import grid_subsample
from diff2i2p_core.ops.kpconv import kernel_disposition, kpconv
from diff2i2p_core.ops.mutual import mutual_matches
from diff2i2p_core.ops.neighborhood import KERNEL_SIZE, Neighborhood
from diff2i2p_core.ops.neighbors import neighbor_search
from diff2i2p_core.ops.pyramid import PointPyramid, build_pyramid

POINTS = 20_000
"""For the cloud of the full network: a wavy wall at 2.5 cm."""
Work = Callable[[], Any]


def cases() -> list[Case]:
    """Each reference, followed by its kernel."""
    work: dict[str, Callable[[str], Work]] = {
        "neighbours, 20k points": _neighbors,
        "grid means, 20k points": _grid,
        "point pyramid, 20k points": _pyramid,
        "KPConv, 20k points, 64 channels": partial(_kpconv, level=0, channels=64),
        "KPConv, 20k points, 64 channels, bfloat16": partial(_kpconv, level=0, channels=64, bf16=True),
        "KPConv, 20k points, 64 channels, forward + backward": partial(
            _kpconv, level=0, channels=64, backward=True
        ),
        "KPConv, 5k points, 128 channels, forward + backward": partial(
            _kpconv, level=1, channels=128, backward=True
        ),
        "z-buffer, 21k points to 640x480": z_buffer_work,
        "splat, 21k points to 640x480, forward + backward": partial(splat_work, scale=1.0),
        "densify 640x480": partial(densify_work, backward=False),
        "densify 640x480, forward + backward": partial(densify_work, backward=True),
        "mutual matches, 100 pairs of patches of 1600 pixels and 128 points": _mutual_matches,
        "view of 60k points to 760x520, described by XFeat": description_work,
        "view of 60k points to 640x480": partial(view_work, 640, 480),
    }
    return [case for name, prepare in work.items() for case in reference_and_kernel(name, prepare)]


def reference_and_kernel(name: str, prepare: Callable[[str], Work]) -> list[Case]:
    reference = Case(name, partial(_prepare, prepare, "torch"), most_runs=10)
    return [reference, Case(f"{name}: kernel", partial(_prepare, prepare, "triton"), kernel_of=name)]


def _prepare(prepare: Callable[[str], Work], ops: str, device: str) -> Work:
    with _running(ops):
        prepared = prepare(device)

    def work() -> None:
        with _running(ops):
            prepared()

    return work


@contextmanager
def _running(ops: str) -> Iterator[None]:
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = ops
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def _neighbors(device: str) -> Work:
    """The neighbours within the finest level: builds the search and runs it."""
    [points, *_], config = _levels().to(device).points, released_config().points
    lengths, limit = [len(points)], config.neighbor_limits[0]
    return lambda: neighbor_search(points, 2.5 * config.voxel, lengths)(points, limit, lengths)


def _grid(device: str) -> Work:
    points = _levels().points[0].to(device)
    return lambda: grid_subsample(points, 2 * released_config().points.voxel, [len(points)])


def _pyramid(device: str) -> Work:
    points, config = _levels().points[0].to(device), released_config().points
    return lambda: build_pyramid(points, config.voxel, config.neighbor_limits)


def _kpconv(device: str, level: int, channels: int, backward: bool = False, bf16: bool = False) -> Work:
    """Includes what the convolutions of a level share (offsets, the transposed table), computed each time."""
    pyramid, voxel = _levels().to(device), released_config().points.voxel * 2**level
    points, table = pyramid.points[level], pyramid.neighbors[level]
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(len(points), channels, generator=generator).to(device)
    weights = torch.randn(KERNEL_SIZE, channels, channels, generator=generator).to(device)
    kernel_points = torch.tensor(kernel_disposition() * 2.5 * voxel, dtype=torch.float32, device=device)
    features.requires_grad_(backward)
    weights.requires_grad_(backward)

    def work() -> None:
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16):
            neighborhood = Neighborhood(points, points, table)
            output = kpconv(features, neighborhood, kernel_points, 2 * voxel, weights, "neighbors")
        if backward:
            torch.autograd.grad(output.sum(), (features, weights))

    return work


def _mutual_matches(device: str) -> Work:
    """The coarsest image nodes of the full network, which have contiguous pixels, with arbitrary points."""
    generator = torch.Generator().manual_seed(0)
    pixels, points = (
        F.normalize(torch.randn(count, 128, generator=generator), dim=1).to(device)
        for count in (76_800, 16_500)
    )
    first = torch.randint(len(pixels) // 1600, (100, 1), generator=generator) * 1600
    rows = (first + torch.arange(1600)).to(device)
    columns = torch.randint(len(points), (100, 128), generator=generator).to(device)
    return lambda: mutual_matches(rows, columns, pixels, points, k=1, least=0.5)


@lru_cache(maxsize=1)
def _levels() -> PointPyramid:
    return wall_pair(released_config(), POINTS).pyramid
