"""What a map is made of: the cloud and the views of a source; maps in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.submaps import SubmapSettings
from diff2i2p_core.geometry.voxels import voxel_downsample
from diff2i2p_core.io.clouds import Cloud, read_cloud
from diff2i2p_core.io.fused_frames import fuse_frames
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.io.trajectories import read_trajectory
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.mapping.encode import MIN_SUBMAP_POINTS, encode, encode_views, network_input
from diff2i2p_core.mapping.keyframes import select_keyframes
from diff2i2p_core.mapping.map_file import MapInfo, PointMap
from diff2i2p_core.mapping.viewpoints import sample_viewpoints
from diff2i2p_core.models.config import ModelConfig
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.typing import Progress
from diff2i2p_core.weights.checkpoint import load_model, resolve_weights, weights_id

POINT_SPACING = 0.03
"""Metres between the points that images are aligned to and that are shown, if submaps are not finer."""
MANY_POINTS = 1_000_000
"""Larger clouds are thinned before submaps are cut."""


def model_for_map(
    weights: Path | str | None, source: str, device: str = "cpu", *, colored: bool = True
) -> tuple[Diff2I2P, MapInfo]:
    """The network that encodes a map, and what the map records of it. Without `weights`, the default of a
    cloud with or without colours."""
    path = resolve_weights(weights, colored=colored)
    model = load_model(path, device)
    return model, map_info(path, source, model.config)


def map_info(weights: Path, source: str, config: ModelConfig | None = None) -> MapInfo:
    """What a map records of its making; submaps have the network's input spacing."""
    config = config or load_model(weights).config
    return MapInfo(
        source=source,
        weights_name=config.name,
        weights_id=weights_id(weights),
        mode=config.mode,
        point_features=config.point_features,
        settings=SubmapSettings(voxel=config.points.voxel),
        created=MapInfo.now(),
        spacing=min(POINT_SPACING, config.points.voxel),
    )


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
        points, colors = fuse_frames(frames, chosen, min(0.025, settings.voxel), progress=progress)
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
    """Cut the submaps of the given views (V, 4, 4) and encode them, all in memory."""
    sparse = thinned(cloud, info.settings)
    blocks = BlockCloud.of(sparse.points, sparse.colors)
    submaps, poses = [], []
    for number, submap in enumerate(encode_views(blocks, map_from_views, model, info.settings)):
        if submap is not None:
            submaps.append(submap)
            poses.append(map_from_views[number])
        if progress is not None:
            progress("encoding submaps", number + 1, len(map_from_views))
    if not submaps:
        raise sees_nothing(info, len(map_from_views))
    shown, shown_colors = voxel_downsample(sparse.points, sparse.colors, info.spacing)
    return PointMap(info, shown, shown_colors, np.array(poses), submaps)


def thinned(cloud: Cloud, settings: SubmapSettings) -> Cloud:
    """A large cloud at half the spacing of the submaps: they are cut at theirs anyway."""
    if len(cloud.points) <= MANY_POINTS:
        return cloud
    return Cloud(*voxel_downsample(cloud.points, cloud.colors, settings.voxel / 2))


def sees_nothing(info: MapInfo, num_views: int) -> InputError:
    return InputError(
        f"{info.source}: none of {num_views} views sees {MIN_SUBMAP_POINTS} points of it; give "
        "a denser cloud in metres, or a --trajectory of camera poses in its frame"
    )


def map_of_one_cloud(cloud: Cloud, model: Diff2I2P, info: MapInfo) -> PointMap:
    """A map whose only submap is the whole cloud in its own frame (as in the papers' benchmarks)."""
    info = replace(info, spacing=info.settings.voxel)
    points, colors = voxel_downsample(cloud.points, cloud.colors, info.spacing)
    if len(points) > 60_000:
        raise InputError(
            f"{info.source}: {len(points)} points at {info.settings.voxel} m are too many for one cloud; "
            "build a map of it with `diff2i2p map build`"
        )
    return PointMap(
        info, points, colors, np.eye(4)[None], [encode(model, *network_input(points, colors, model.config))]
    )
