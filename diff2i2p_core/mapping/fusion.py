"""A coloured map cloud from posed RGB-D frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.data.frames import PosedFrames
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.geometry.voxels import sum_by_key, voxel_keys

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

_MERGE_EVERY = 10


def fuse_frames(
    frames: PosedFrames,
    numbers: Sequence[int] | None = None,
    voxel: float = 0.025,
    stride: int = 2,
    *,
    max_depth: float = 4.5,
    min_views: int = 2,
    progress: Progress | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Points (N, 3) in the world frame and RGB colours (N, 3) of the frames `numbers` (default all).

    One point a voxel: the mean over all frames, weighted by 1/depth^2, as a structured-light sensor's noise
    and a pixel's footprint grow with depth. `stride` skips pixels; pixels at depth edges are left out; voxels
    seen by fewer than `min_views` frames are dropped. Memory grows with the map, not with the frames.
    """
    chosen = frames.numbers if numbers is None else list(numbers)
    unknown = set(chosen) - set(frames.numbers)
    if unknown or not chosen:
        raise InputError(
            f"{frames.folder}: has no frame {min(unknown, default=-1):06d}; choose frames that exist"
        )
    index_of = {number: index for index, number in enumerate(frames.numbers)}
    keys, sums = np.empty(0, np.int64), np.zeros((0, 8))
    waiting: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
    for done, number in enumerate(chosen, start=1):
        waiting.append(_frame_sums(frames, index_of[number], voxel, stride, max_depth))
        if len(waiting) == _MERGE_EVERY or done == len(chosen):
            waiting.append((keys, sums))
            keys, sums = sum_by_key(
                np.concatenate([part[0] for part in waiting]), np.concatenate([part[1] for part in waiting])
            )
            waiting = []
        if progress is not None:
            progress(done, len(chosen))
    sums = sums[sums[:, 7] >= min(min_views, len(chosen))]
    if len(sums) == 0:
        raise InputError(f"{frames.folder}: no depth is left after filtering; are the depths in millimetres?")
    means = sums[:, :6] / sums[:, 6:7]
    return means[:, :3].astype(np.float32), np.rint(means[:, 3:]).astype(np.uint8)


def _frame_sums(
    frames: PosedFrames, index: int, voxel: float, stride: int, max_depth: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Keys (M,) and (M, 8) weighted sums of x y z r g b, the weight, and 1 for the view."""
    frame = frames[index]
    depth = np.zeros_like(frame.depth)
    depth[::stride, ::stride] = without_edges(frame.depth)[::stride, ::stride]
    depth[depth > max_depth] = 0
    points, colors = frames.points(replace(frame, depth=depth))
    weight = 1 / np.maximum(points[:, 2:], 0.5) ** 2
    world = transform_points(frame.world_from_camera, points)
    values = np.concatenate([world * weight, colors * weight, weight], axis=1)
    keys, sums = sum_by_key(voxel_keys(world, voxel), values)
    return keys, np.concatenate([sums, np.ones((len(sums), 1))], axis=1)


def without_edges(depth: NDArray[np.float32], relative: float = 0.04) -> NDArray[np.float32]:
    """Depth (H, W) with the pixels at a step of more than `relative` of their depth set to 0.

    Such pixels mix two surfaces ("flying pixels") and take the colour of the wrong one. Steps are looked for
    two pixels away in each direction; unknown depth is no step.
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
