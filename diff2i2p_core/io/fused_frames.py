"""Fuses the frames of a posed RGB-D folder into a coloured cloud."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.fused_views import View, fuse_views, thinned
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.typing import Progress


def fuse_frames(
    frames: PosedFrames,
    numbers: Sequence[int] | None = None,
    spacing: float = 0.025,
    stride: int = 2,
    *,
    max_depth: float = 4.5,
    min_views: int = 2,
    progress: Progress | None = None,
) -> PointCloud:
    """The coloured cloud of the frames `numbers` (default all), in the world frame.

    Each voxel of `spacing` metres has one point: the mean over all frames, weighted by 1/depth^2, because the
    noise of a structured-light sensor and the footprint of a pixel grow with depth. `stride` skips pixels.
    Pixels at depth edges are left out, and voxels seen by fewer than `min_views` frames are dropped. Memory
    grows with the map, not with the number of frames.
    """
    selected = frames.numbers if numbers is None else list(numbers)
    unknown = set(selected) - set(frames.numbers)
    if unknown or not selected:
        raise InputError(
            f"{frames.folder}: has no frame {min(unknown, default=-1):06d}; choose frames that exist"
        )
    index_of = {number: index for index, number in enumerate(frames.numbers)}

    def views() -> Iterator[View]:
        for done, number in enumerate(selected, start=1):
            yield _view(frames, index_of[number], stride, max_depth)
            if progress is not None:
                progress("fusing frames", done, len(selected))

    points, colors = fuse_views(views(), spacing, min(min_views, len(selected)))
    if len(points) == 0:
        raise InputError(f"{frames.folder}: no depth is left after filtering; are the depths in millimetres?")
    return PointCloud(points, np.rint(colors).astype(np.uint8))


def _view(frames: PosedFrames, index: int, stride: int, max_depth: float) -> View:
    frame = frames[index]
    points, colors = frames.points(replace(frame, depth=thinned(frame.depth, stride, max_depth)))
    return View(transform_points(frame.world_from_camera, points), points[:, 2], colors)
