"""Building a map: fuse or read a cloud, choose views, cut submaps, encode them once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from diff2i2p_core.data.frames import PosedFrames
from diff2i2p_core.data.trajectories import read_trajectory
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.geometry.voxels import voxel_downsample
from diff2i2p_core.mapping.clouds import Cloud, read_cloud
from diff2i2p_core.mapping.fusion import fuse_frames
from diff2i2p_core.mapping.keyframes import select_keyframes
from diff2i2p_core.mapping.map_file import MapInfo, PointMap, save_map
from diff2i2p_core.mapping.submaps import SubmapSettings, cut_submap
from diff2i2p_core.mapping.viewpoints import sample_viewpoints
from diff2i2p_core.models.checkpoint import load_model, resolve_weights, weights_id
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.features import SubmapFeatures
from diff2i2p_core.models.inputs import point_tensor
from diff2i2p_core.ops.pyramid import build_pyramid

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, done, total)."""

MIN_SUBMAP_POINTS = 300
"""Views that see fewer points are left out."""


def build_map(
    source: Path | str,
    out: Path | str,
    *,
    weights: Path | str | None = None,
    trajectory: Path | str | None = None,
    up: str = "z",
    device: str = "cpu",
    progress: Progress | None = None,
) -> PointMap:
    """Build a map file from a cloud file or a posed RGB-D folder; see `read_source` for the views."""
    model, info = model_for_map(weights, str(source), device)
    cloud, views = read_source(source, info.settings, trajectory=trajectory, up=up, progress=progress)
    point_map = map_from_views(cloud, views, model, info, progress)
    save_map(point_map, out)
    return point_map


def model_for_map(weights: Path | str | None, source: str, device: str = "cpu") -> tuple[Diff2I2P, MapInfo]:
    """The network that encodes a map, and what the map records of it: submaps have its input spacing."""
    path = resolve_weights(weights)
    model = load_model(path, device)
    config = model.config
    info = MapInfo(
        source=source,
        weights_name=config.name,
        weights_id=weights_id(path),
        mode=config.mode,
        point_features=config.point_features,
        settings=SubmapSettings(voxel=config.points.voxel),
        created=MapInfo.now(),
    )
    return model, info


def read_source(
    source: Path | str,
    settings: SubmapSettings,
    *,
    trajectory: Path | str | None = None,
    up: str = "z",
    numbers: list[int] | None = None,
    progress: Progress | None = None,
) -> tuple[Cloud, NDArray[np.float64]]:
    """The cloud of a map and the poses (V, 4, 4) of its submaps' views.

    A folder of posed RGB-D frames (`numbers`: only these) is fused and its keyframes are the views. For a
    cloud file the views are the keyframes of a TUM `trajectory` of camera poses (optical frames), else they
    are sampled in the free space of a map whose `up` axis is given.
    """
    if Path(source).is_dir():
        frames = PosedFrames(source)
        chosen = frames.numbers if numbers is None else numbers
        report = None if progress is None else (lambda done, total: progress("fusing frames", done, total))
        points, colors = fuse_frames(frames, chosen, min(0.025, settings.voxel), progress=report)
        poses = np.array([frames.pose(number) for number in chosen])
        return Cloud(points, colors), poses[select_keyframes(poses)]
    cloud = read_cloud(source)
    if trajectory is not None:
        poses = np.array(read_trajectory(trajectory)[1])
        return cloud, poses[select_keyframes(poses)]
    coarse, _ = voxel_downsample(cloud.points, None, 0.1)
    return cloud, sample_viewpoints(coarse, up=up)


def map_from_views(
    cloud: Cloud,
    map_from_views: NDArray[np.float64],
    model: Diff2I2P,
    info: MapInfo,
    progress: Progress | None = None,
) -> PointMap:
    """Cut the submaps of the given views (V, 4, 4) and encode them."""
    settings = info.settings
    points, colors = cloud.points, cloud.colors
    if len(points) > 1_000_000:  # cutting works on the spacing of the submaps anyway
        points, colors = voxel_downsample(points, colors, settings.voxel / 2)
    submaps, poses = [], []
    for done, map_from_view in enumerate(map_from_views, start=1):
        seen, seen_colors = cut_submap(points, colors, invert(map_from_view), settings)
        if len(seen) >= MIN_SUBMAP_POINTS:
            submaps.append(encode_points(model, seen, seen_colors))
            poses.append(map_from_view)
        if progress is not None:
            progress("encoding submaps", done, len(map_from_views))
    if not submaps:
        raise InputError(
            f"{info.source}: none of {len(map_from_views)} views sees {MIN_SUBMAP_POINTS} points of it; give "
            "a denser cloud in metres, or a --trajectory of camera poses in its frame"
        )
    shown, shown_colors = voxel_downsample(points, colors, settings.voxel)
    return PointMap(info, shown, shown_colors, np.array(poses), submaps)


def map_of_one_cloud(cloud: Cloud, model: Diff2I2P, info: MapInfo) -> PointMap:
    """A map whose only submap is the whole cloud in its own frame (as in the papers' benchmarks)."""
    points, colors = voxel_downsample(cloud.points, cloud.colors, info.settings.voxel)
    if len(points) > 60_000:
        raise InputError(
            f"{info.source}: {len(points)} points at {info.settings.voxel} m are too many for one cloud; "
            "build a map of it with `diff2i2p map build`"
        )
    return PointMap(info, points, colors, np.eye(4)[None], [encode_points(model, points, colors)])


@torch.inference_mode()
def encode_points(
    model: Diff2I2P, points: NDArray[np.float32], colors: NDArray[np.uint8] | None
) -> SubmapFeatures:
    """The network's features of one cloud (N, 3) at its input spacing, on the CPU."""
    config = model.config
    if config.point_features == "intensity":
        raise InputError(
            "weights with point feature 'intensity' cannot be used with clouds of colour; use others"
        )
    features = point_tensor(points, config, colors if config.point_features == "rgb" else None)
    pyramid = build_pyramid(points, config.points.voxel, config.points.neighbor_limits)
    return model.encode_cloud(pyramid.to(model.device), features.to(model.device))[0].to("cpu")
