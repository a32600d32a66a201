"""What a map is made of: the cloud and the views of a source; maps in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.submaps import SubmapSettings
from diff2i2p_core.io.clouds import read_cloud
from diff2i2p_core.io.fused_frames import fuse_frames
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.io.trajectories import read_trajectory
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.mapping.describe import describe_view
from diff2i2p_core.mapping.encode import MIN_SUBMAP_POINTS, encode, encode_views, network_input
from diff2i2p_core.mapping.keyframes import select_keyframes
from diff2i2p_core.mapping.map_file import MapInfo, PointMap
from diff2i2p_core.mapping.packed_views import MIN_FEATURES, PackedViews, RenderSettings
from diff2i2p_core.mapping.view_map import ViewMap
from diff2i2p_core.mapping.viewpoints import sample_viewpoints
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.xfeat import XFeat
from diff2i2p_core.typing import Array, Progress
from diff2i2p_core.weights.checkpoint import config_of, load_model, resolve_weights, weights_id

POINT_SPACING = 0.03
"""Metres between the points that images are aligned to and that are shown, if submaps are not finer."""
RENDER_SPACING = 0.0125
"""Metres between the points that views are rendered from, at least."""
RENDER_APART, RENDER_APART_DEG = 0.3, 15.0
"""Metres and degrees: every pose of a trajectory is so near to a rendered view."""
MANY_POINTS = 1_000_000
"""Larger clouds are thinned before submaps are cut."""


def model_for_map(
    weights: Path | str | None, source: str, device: str = "cpu", *, colored: bool = True
) -> tuple[Diff2I2P, MapInfo]:
    """The network that encodes a map, and what the map records of it. Without `weights`, the default of a
    cloud with or without colours."""
    path = resolve_weights(weights, colored=colored)
    return load_model(path, device), map_info(path, source)


def map_info(weights: Path, source: str) -> MapInfo:
    """What a map records of its making; submaps have the network's input spacing."""
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


@dataclass(frozen=True)
class MapSource:
    """What a map is made of."""

    cloud: PointCloud
    submap_views: Array
    """(V, 4, 4) map_from_view, optical frames, from where submaps are cut for the network."""
    render_views: Array
    """The same for rendered views."""

    @classmethod
    def along(cls, cloud: PointCloud, poses: Array) -> MapSource:
        """Seen from the keyframes of a trajectory of camera poses (P, 4, 4)."""
        renders = select_keyframes(poses, max_translation=RENDER_APART, max_rotation_deg=RENDER_APART_DEG)
        return cls(cloud, poses[select_keyframes(poses)], poses[renders])

    @classmethod
    def unseen(cls, cloud: PointCloud, up: str) -> MapSource:
        """Without a trajectory: from sampled viewpoints."""
        views = sample_viewpoints(cloud.points, up=up)
        return cls(cloud, views, views)


def read_source(
    source: Path | str,
    *,
    trajectory: Path | str | None = None,
    up: str = "z",
    numbers: list[int] | None = None,
    progress: Progress | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> MapSource:
    """The cloud of a map and where it is looked at from.

    A folder of posed RGB-D frames (`numbers`: only these) is fused and its keyframes are the views. For a
    cloud file the views are the keyframes of a TUM `trajectory` of camera poses (optical frames), else they
    are sampled in the free space of a map whose `up` axis is given. `note` gets a line about points that are
    left out.
    """
    if Path(source).is_dir():
        frames = PosedFrames(source)
        chosen = frames.numbers if numbers is None else numbers
        cloud = fuse_frames(frames, chosen, RENDER_SPACING, progress=progress)
        return MapSource.along(cloud, np.array([frames.pose(number) for number in chosen]))
    cloud = read_cloud(source, note)
    if trajectory is not None:
        return MapSource.along(cloud, np.array(read_trajectory(trajectory)[1]))
    return MapSource.unseen(cloud, up)


def view_map_of(
    cloud: PointCloud, poses: Array, model: XFeat, progress: Progress | None = None
) -> ViewMap | None:
    """Render views (V, 4, 4) of a coloured cloud and describe them, in memory. None if none shows enough."""
    blocks = BlockCloud.of(cloud.thinned(RENDER_SPACING))
    spacing = blocks.spacing()
    settings = RenderSettings.for_spacing(spacing)
    views, kept = [], []
    for number, pose in enumerate(poses):
        view = describe_view(blocks, spacing, pose, settings.camera(), settings, model)
        if len(view) >= MIN_FEATURES:
            views.append(view)
            kept.append(number)
        if progress is not None:
            progress("rendering views", number + 1, len(poses))
    if not kept:
        return None
    points = torch.from_numpy(np.concatenate([view.points for view in views])).half()
    descriptors = torch.cat([view.descriptors.cpu() for view in views]).half()
    counts = [len(view) for view in views]
    return ViewMap(PackedViews.of(settings, poses[kept], counts, points, descriptors), blocks, spacing)


def map_from_views(
    cloud: PointCloud,
    map_from_views: NDArray[np.float64],
    model: Diff2I2P,
    info: MapInfo,
    progress: Progress | None = None,
) -> PointMap:
    """Cut the submaps of the given views (V, 4, 4) and encode them, all in memory."""
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


def map_in_memory(
    source: MapSource,
    info: MapInfo,
    model: Diff2I2P | None,
    xfeat: XFeat | None,
    progress: Progress | None = None,
) -> PointMap:
    """A map with the features that the given networks compute; InputError where no view shows enough."""
    rendered = None
    if xfeat is not None:
        rendered = view_map_of(source.cloud, source.render_views, xfeat, progress)
    if model is not None:
        try:
            made = map_from_views(source.cloud, source.submap_views, model, info, progress)
            return replace(made, rendered=rendered)
        except InputError:
            if rendered is None:
                raise
    if rendered is None:
        raise sees_nothing(info, len(source.render_views))
    shown = thinned(source.cloud, info.settings).thinned(info.spacing)
    return PointMap(info, shown, np.empty((0, 4, 4)), [], rendered)


def thinned(cloud: PointCloud, settings: SubmapSettings) -> PointCloud:
    """A large cloud at half the spacing of the submaps: they are cut at theirs anyway."""
    return cloud if len(cloud) <= MANY_POINTS else cloud.thinned(settings.spacing / 2)


def sees_nothing(info: MapInfo, num_views: int) -> InputError:
    return InputError(
        f"{info.source}: none of {num_views} views sees {MIN_SUBMAP_POINTS} points of it; give "
        "a denser cloud in metres, or a trajectory of camera poses in its frame"
    )


def map_of_one_cloud(cloud: PointCloud, model: Diff2I2P, info: MapInfo) -> PointMap:
    """A map whose only submap is the whole cloud in its own frame (as in the papers' benchmarks)."""
    info = replace(info, spacing=info.settings.spacing)
    cloud = cloud.thinned(info.spacing)
    if len(cloud) > 60_000:
        raise InputError(
            f"{info.source}: {len(cloud)} points at {info.spacing} m are too many for one cloud; "
            "build a map of it with `diff2i2p map build`"
        )
    submap = encode(model, *network_input(cloud, model.config))
    return PointMap(info, cloud, np.eye(4)[None], [submap])
