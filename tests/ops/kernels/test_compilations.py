"""A kernel is compiled once, whatever the number of points: a compilation stops a robot for a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch

from diff2i2p_core.ops.grid import grid_subsample
from diff2i2p_core.ops.kpconv import kpconv
from diff2i2p_core.ops.neighborhood import KERNEL_SIZE, Neighborhood
from diff2i2p_core.ops.neighbors import neighbor_search
from diff2i2p_core.ops.splat import splat_depth
from diff2i2p_core.ops.z_buffer import z_buffer


def launches() -> None:
    from diff2i2p_core.ops.kernels.mutual import best_in_patches

    torch.manual_seed(0)
    camera = torch.tensor([[16.0, 0, 8], [0, 16, 8], [0, 0, 1]])
    for count in (1, 48, 57):
        points, features = torch.rand(count, 3) + 1, torch.randn(count, 16)
        grid_subsample(points, 0.1, [count])
        neighbor_search(points, 0.5, [count])(points, 8, [count])
        hood = Neighborhood(points, points, torch.zeros(count, 16, dtype=torch.long))
        kpconv(features, hood, torch.rand(KERNEL_SIZE, 3), 0.2, torch.randn(KERNEL_SIZE, 16, 16), "neighbors")
        table = torch.zeros(2, 32, dtype=torch.long)
        for width in (9, 16):
            best_in_patches(table, table[:, :width], features, features, 1)
        z_buffer(points[None], camera, (16, 16))
        splat_depth(points[None], camera, (16, 16))


@pytest.mark.slow
def test_another_number_of_points_compiles_nothing_again(
    compile_launches: Callable[..., list[dict[str, Any]]],
) -> None:
    compiled = Counter(kernel["name"] for kernel in compile_launches("test_compilations:launches"))
    assert compiled == dict.fromkeys(
        (
            "_segment_means", "_search", "_sum_neighbors", "best_in_block",
            "scatter_nearest", "unpack", "front_depth", "accumulate", "finish",
        ),
        1,
    )  # fmt: skip
