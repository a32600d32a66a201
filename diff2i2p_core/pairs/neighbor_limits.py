"""Limits for the neighbour tables of a point pyramid, measured on training clouds (docs/method.md R4)."""

from __future__ import annotations

import math
from itertools import count

import numpy as np
from scipy.spatial import cKDTree

from diff2i2p_core.errors import InputError
from diff2i2p_core.models.config import ModelConfig
from diff2i2p_core.pairs.benchmark_pairs import BenchmarkPairs, BenchmarkSettings
from diff2i2p_core.pairs.pair import PairSource

KEPT = 0.8
"""Fraction of neighbourhoods that fit completely."""
SAMPLES = 5000
"""Minimum number of points counted per level. With the released 2000 (about nine clouds), the finest limit is
random (46 to 54 on clouds of 7-Scenes)."""
_BINS = math.ceil(4 / 3 * math.pi * 3.5**3)
"""Number of bins; a radius of 2.5 voxels cannot hold more neighbours."""


def calibrate_neighbor_limits(pairs: PairSource, voxel: float) -> tuple[int, ...]:
    """One limit per level, for `points.neighbor_limits`: 80 % of the points of pairs 0, 1, ... have at most
    this many neighbours within their level's radius, including themselves.

    Uses pairs until each level has given `SAMPLES` points, but at most one epoch.
    """
    histograms: list[np.ndarray] = []
    for n in count():
        for level, points in enumerate(pairs[n].pyramid.points):
            tree = cKDTree(points.numpy())
            counts = tree.query_ball_point(points.numpy(), 2.5 * voxel * 2**level, return_length=True)
            if level == len(histograms):
                histograms.append(np.zeros(_BINS, np.int64))
            histograms[level] += np.bincount(counts, minlength=_BINS)[:_BINS]
        if min(h.sum() for h in histograms) > SAMPLES or n + 1 >= pairs.epoch_length:
            break
    return tuple(int((np.cumsum(h) < KEPT * h.sum()).sum()) for h in histograms)


def measured_limits(
    benchmark: BenchmarkSettings, config: ModelConfig, seed: int
) -> tuple[tuple[int, ...], str]:
    """The limits for a benchmark's data, and the name of the subset that they were measured on: the training
    subset, as released, or the test subset where that is all there is."""
    try:
        pairs, subset = BenchmarkPairs(benchmark, config, "train", seed=seed), benchmark.train
    except InputError:
        pairs, subset = BenchmarkPairs(benchmark, config, "test"), benchmark.test
    return calibrate_neighbor_limits(pairs, config.points.voxel), f"the subset '{subset}'"
