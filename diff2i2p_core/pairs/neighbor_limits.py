"""How many neighbours the tables of a point pyramid keep, measured on training clouds (docs/method.md R4)."""

from __future__ import annotations

import math
from itertools import count

import numpy as np
from scipy.spatial import cKDTree

from diff2i2p_core.pairs.pair import PairSource

KEPT = 0.8
"""Share of the neighbourhoods that fit whole."""
SAMPLES = 5000
"""Points of each level that are counted, at least. With the released 2000, about nine clouds, chance decides
on the finest limit (46 to 54 on clouds of 7-Scenes)."""
_BINS = math.ceil(4 / 3 * math.pi * 3.5**3)
"""Larger neighbourhoods than a radius of 2.5 voxels can hold are not counted."""


def calibrate_neighbor_limits(pairs: PairSource, voxel: float) -> tuple[int, ...]:
    """Limits a level, for `points.neighbor_limits`: 80 % of the points of pairs 0, 1, ... have no more
    neighbours within their level's radius, themselves included.

    Goes over pairs until every level has given `SAMPLES` points, one epoch at most.
    """
    histograms: list[np.ndarray] = []
    for n in count():
        for level, points in enumerate(pairs[n].pyramid.points):
            tree = cKDTree(points.numpy())
            found = tree.query_ball_point(points.numpy(), 2.5 * voxel * 2**level, return_length=True)
            if level == len(histograms):
                histograms.append(np.zeros(_BINS, np.int64))
            histograms[level] += np.bincount(found, minlength=_BINS)[:_BINS]
        if min(h.sum() for h in histograms) > SAMPLES or n + 1 >= pairs.epoch_length:
            break
    return tuple(int((np.cumsum(h) < KEPT * h.sum()).sum()) for h in histograms)
