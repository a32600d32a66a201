"""Fuses depth images: each voxel gets the mean of several views."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.geometry.voxels import sum_by_key, voxel_keys

_MERGE_EVERY = 10
_Sums = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Keys of voxels, ascending, and the sums in each."""


class View(NamedTuple):
    """The part of a fused cloud from one frame: points (N, 3) in the cloud's frame, their depths (N,) in the
    camera, and attributes (N, C), which are averaged like the points."""

    points: NDArray[np.float64]
    depths: NDArray[Any]
    attributes: NDArray[Any]


def fuse_views(
    views: Iterable[View], spacing: float, min_views: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Points (M, 3) and attributes (M, C) of one or more views: for each voxel with points from at least
    `min_views` views, their mean weighted by 1/depth^2."""
    parts: list[_Sums] = []
    for view in views:
        parts.append(_view_sums(view, spacing))
        if len(parts) > _MERGE_EVERY:
            parts = [_merged(parts)]
    _, sums = _merged(parts)
    sums = sums[sums[:, -1] >= min_views]
    means = sums[:, :-2] / sums[:, -2:-1]
    return means[:, :3].astype(np.float32), means[:, 3:]


def _merged(parts: Sequence[_Sums]) -> _Sums:
    return sum_by_key(
        np.concatenate([keys for keys, _ in parts]), np.concatenate([sums for _, sums in parts])
    )


def _view_sums(view: View, spacing: float) -> _Sums:
    """Keys (M,) and (M, 3 + C + 2) weighted sums of coordinates and attributes, of weights, of views."""
    weight = 1 / np.maximum(view.depths[:, None], 0.5) ** 2
    values = np.concatenate([view.points * weight, view.attributes * weight, weight], axis=1)
    keys, sums = sum_by_key(voxel_keys(view.points, spacing), values)
    return keys, np.concatenate([sums, np.ones((len(sums), 1))], axis=1)


def thinned(depth: NDArray[np.float32], stride: int, max_depth: float) -> NDArray[np.float32]:
    """Depth (H, W) at every `stride`-th pixel; 0 at all others, at edges and beyond `max_depth`."""
    sparse = np.zeros_like(depth)
    sparse[::stride, ::stride] = without_edges(depth)[::stride, ::stride]
    sparse[sparse > max_depth] = 0
    return sparse


def without_edges(depth: NDArray[np.float32], relative: float = 0.04) -> NDArray[np.float32]:
    """Depth (H, W), set to 0 where it jumps by more than `relative` of itself.

    Such pixels mix two surfaces ("flying pixels") and have the colour of the wrong one. A jump is a
    difference to the pixels up to two away in each direction; unknown depth does not count as a jump.
    """
    edge = np.zeros(depth.shape, bool)
    for axis in (0, 1):
        near = np.moveaxis(depth, axis, 0)
        mark = np.moveaxis(edge, axis, 0)
        a, b = near[:-2], near[2:]
        step = (np.abs(a - b) > relative * np.minimum(a, b)) & (a > 0) & (b > 0)
        mark[:-2] |= step
        mark[1:-1] |= step
        mark[2:] |= step
    return np.where(edge, np.float32(0), depth)
