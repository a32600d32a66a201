"""The sources of maps: clouds and posed frames, and the poses from which they are viewed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.clouds import Origin, check_reach, read_cloud_at
from diff2i2p_core.io.fused_frames import fuse_frames
from diff2i2p_core.io.raw_cloud import middle
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.io.trajectories import read_trajectory
from diff2i2p_core.mapping.gravity import find_up
from diff2i2p_core.mapping.keyframes import select_keyframes
from diff2i2p_core.mapping.matchers import Matcher
from diff2i2p_core.mapping.packed_views import RenderSettings
from diff2i2p_core.mapping.surface_viewpoints import surface_viewpoints
from diff2i2p_core.mapping.units import check_metres
from diff2i2p_core.mapping.viewpoints import axis_vector, looking, rotation_from_z_up, sample_viewpoints
from diff2i2p_core.typing import Array, Progress

RENDER_SPACING = 0.0125
"""Minimum metres between the points that views are rendered from."""
COARSEST = 0.025
"""Metres between the points fused for the network alone, or from frames of low resolution."""
_AROUND = 8
"""Views in a circle around a scanner."""
RENDER_APART, RENDER_APART_DEG = 0.25, 10.0
"""Metres and degrees. Each pose of a trajectory has a rendered view this near."""


@dataclass(frozen=True)
class MapSource:
    """What a map is built from."""

    cloud: PointCloud
    submap_views: Array
    """(V, 4, 4) map_from_view, optical frames: the views whose submaps are cut for the network."""
    render_views: Array
    """The same for rendered views."""
    origin: Array | None = None
    """(3,) what was subtracted from the coordinates of a georeferenced cloud."""
    map_from_level: Array | None = None
    """(3, 3) rotation from axes with z up, where no trajectory shows what is up."""

    @classmethod
    def along(cls, cloud: PointCloud, poses: Array) -> MapSource:
        """Viewed from the keyframes of a trajectory of camera poses (P, 4, 4)."""
        renders = select_keyframes(poses, max_translation=RENDER_APART, max_rotation_deg=RENDER_APART_DEG)
        return cls(cloud, poses[select_keyframes(poses)], poses[renders])

    @classmethod
    def unseen(
        cls, cloud: PointCloud, up: str = "auto", note: Callable[[str], None] = lambda line: None
    ) -> MapSource:
        """Without a trajectory: viewed from viewpoints in free space.

        `up` is one of x, y, z, -x, -y, -z, or `auto`: found from the planes, and reported to `note`.
        """
        if up == "auto":
            direction, words = find_up(cloud.points)
            note(f"up is {words}; if that is wrong, give the axis that points up")
        else:
            direction = axis_vector(up)
        standing = sample_viewpoints(cloud.points, up=direction)
        renders = surface_viewpoints(cloud, RenderSettings().camera(), up=direction)
        return cls(cloud, standing, renders, map_from_level=rotation_from_z_up(direction))

    def seen_from(self, scanners: Array) -> MapSource:
        """With more views: those from where a scanner stood (S, 3), level, all around."""
        if not len(scanners) or self.map_from_level is None:
            return self
        yaws = np.arange(_AROUND) * 2 * np.pi / _AROUND
        around = [looking(np.zeros(3), yaw, 0.0) for yaw in yaws]
        views = np.tile(np.array(around), (len(scanners), 1, 1))
        views[:, :3, :3] = self.map_from_level @ views[:, :3, :3]
        views[:, :3, 3] = np.repeat(scanners, _AROUND, axis=0)
        return replace(
            self,
            submap_views=np.concatenate([self.submap_views, views]),
            render_views=np.concatenate([self.render_views, views]),
        )


def read_source(
    source: Path | str,
    *,
    trajectory: Path | str | None = None,
    up: str = "auto",
    origin: Origin = None,
    matcher: Matcher = "auto",
    progress: Progress | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> MapSource:
    """The cloud of a map for a matcher, and its views.

    For a folder of posed RGB-D frames see `read_frames`. For a cloud file, the views are the keyframes of a
    TUM `trajectory` of camera poses (optical frames), or else those of `MapSource.unseen`, and where the
    scanner stood if the file says so. `origin` (see `read_cloud_at`) is subtracted from a cloud and its
    trajectory. `note` gets lines about points, frames and poses that are left out, and about the direction
    that is taken as up.
    """
    if Path(source).is_dir():
        if origin is not None:
            raise InputError(
                f"{source}: `origin` is for cloud files; subtract it from the poses of the frames"
            )
        return read_frames(source, matcher=matcher, progress=progress, note=note)
    cloud, subtracted, scanners = read_cloud_at(source, origin, note)
    check_metres(cloud.points, str(source))
    if trajectory is None:
        return replace(MapSource.unseen(cloud, up, note).seen_from(scanners), origin=subtracted)
    poses = np.array(read_trajectory(trajectory, note)[1])
    if subtracted is not None:
        poses[:, :3, 3] -= subtracted
    return replace(MapSource.along(cloud, poses), origin=subtracted)


def fused_spacing(camera: Camera) -> float:
    """Metres between points fused from a camera's depth.

    As fine as every second pixel at 2 m, because too few frames would see finer cells.
    """
    return min(max(RENDER_SPACING, 2 * 2.0 / camera.fx), COARSEST)


def read_frames(
    folder: Path | str | PosedFrames,
    numbers: Sequence[int] | None = None,
    *,
    matcher: Matcher = "auto",
    progress: Progress | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> MapSource:
    """The fused frames `numbers` (default: all) of a posed RGB-D folder, viewed from their keyframes. The
    folder may be open already.

    They are fused as finely as the matcher needs and their resolution allows. `note` gets a line about
    frames without a valid pose, which are left out.
    """
    frames = folder if isinstance(folder, PosedFrames) else PosedFrames(folder, note)
    selected = frames.numbers if numbers is None else numbers
    spacing = COARSEST if matcher == "network" else fused_spacing(frames.camera)
    positions = np.array([frames.pose(number)[:3, 3] for number in frames.numbers])
    check_reach(middle(positions)[None], str(folder), "subtract an origin from the poses")
    cloud = fuse_frames(frames, selected, spacing, progress=progress)
    return MapSource.along(cloud, np.array([frames.pose(number) for number in selected]))
