"""Builds maps for the network in memory: submaps are cut from a cloud and encoded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.submaps import SubmapSettings
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.mapping.encode import MIN_SUBMAP_POINTS, encode, encode_views, network_input
from diff2i2p_core.mapping.map_file import MapInfo, PointMap
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.typing import Progress
from diff2i2p_core.weights.checkpoint import config_of, load_model, resolve_weights, weights_id

POINT_SPACING = 0.03
"""Metres between the points for alignment and display, unless submaps are finer."""
MANY_POINTS = 1_000_000
"""Clouds with more points are thinned before submaps are cut."""


def model_for_map(
    weights: Path | str | None, source: str, device: str = "cpu", *, colored: bool = True
) -> tuple[Diff2I2P, MapInfo]:
    """The network that encodes a map, and what the map records about it. Without `weights`: the default for a
    cloud with or without colours."""
    path = resolve_weights(weights, colored=colored)
    return load_model(path, device), map_info(path, source)


def map_info(weights: Path, source: str) -> MapInfo:
    """What a map records about how it was built. Submaps have the input spacing of the network."""
    config = config_of(weights)
    return MapInfo(
        source=source,
        weights_name=config.name,
        weights_id=weights_id(weights),
        mode=config.mode,
        point_features=config.point_features,
        settings=SubmapSettings(spacing=config.points.voxel),
        created=MapInfo.now(),
        spacing=min(POINT_SPACING, config.points.voxel),
    )


def map_from_views(
    cloud: PointCloud,
    map_from_views: NDArray[np.float64],
    model: Diff2I2P,
    info: MapInfo,
    progress: Progress | None = None,
) -> PointMap:
    """Cut and encode the submaps of the given views (V, 4, 4), all in memory."""
    sparse = thinned(cloud, info.settings)
    blocks = BlockCloud.of(sparse)
    submaps, poses = [], []
    for number, submap in enumerate(encode_views(blocks, map_from_views, model, info.settings)):
        if submap is not None:
            submaps.append(submap)
            poses.append(map_from_views[number])
        if progress is not None:
            progress("encoding submaps", number + 1, len(map_from_views))
    if not submaps:
        raise sees_nothing(info, len(map_from_views))
    return PointMap(info, sparse.thinned(info.spacing), np.array(poses), submaps)


def thinned(cloud: PointCloud, settings: SubmapSettings) -> PointCloud:
    """A large cloud is thinned to half the spacing of the submaps, which are cut at their own spacing."""
    return cloud if len(cloud) <= MANY_POINTS else cloud.thinned(settings.spacing / 2)


def sees_nothing(info: MapInfo, num_views: int) -> InputError:
    return InputError(
        f"{info.source}: none of {num_views} views sees {MIN_SUBMAP_POINTS} of its points; give "
        "a denser cloud in metres, or a trajectory of camera poses in its frame"
    )


def map_of_one_cloud(cloud: PointCloud, model: Diff2I2P, info: MapInfo) -> PointMap:
    """A map with a single submap: the whole cloud in its own frame (as in the papers' benchmarks)."""
    info = replace(info, spacing=info.settings.spacing)
    cloud = cloud.thinned(info.spacing)
    if len(cloud) > 60_000:
        raise InputError(
            f"{info.source}: {len(cloud)} points at {info.spacing} m are too many for one cloud; "
            "build a map of it with `diff2i2p map build`"
        )
    submap = encode(model, *network_input(cloud, model.config))
    return PointMap(info, cloud, np.eye(4)[None], [submap])
