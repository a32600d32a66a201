"""Computes the local features of views of the map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import invert, transform_points
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.mapping.device_blocks import Blocks, DeviceBlocks
from diff2i2p_core.mapping.looks import Look, look_named
from diff2i2p_core.mapping.packed_views import MIN_FEATURES, RenderSettings, ViewFeatures
from diff2i2p_core.models.view_networks import ShapeNetworks, ViewNetworks
from diff2i2p_core.models.xfeat import CELL, DIMENSION, XFeat, dense_features, descriptors_at
from diff2i2p_core.ops.render_there import View
from diff2i2p_core.ops.render_view import RenderedView
from diff2i2p_core.typing import Array

V = TypeVar("V")


def rendering_of(cloud: BlockCloud, look: Look) -> tuple[float, RenderSettings]:
    """The distance in metres between a cloud's points, and the settings to render it with."""
    spacing, noise = cloud.spacing_and_noise()
    return spacing, RenderSettings.for_cloud(spacing, noise, look.name, look.focal)


GRID = CELL
"""Pixels between the descriptions of a render that is described everywhere. Half of it gives a third more
matches for four times the time, and the same poses."""


@dataclass(frozen=True)
class GridFeatures:
    """Local features at all pixels of a grid where a render shows a surface."""

    pixels: Tensor
    """(N, 2) float32, (u, v)."""
    points: Array
    """(N, 3) map frame."""
    descriptors: Tensor
    """(N, D) float32, unit length."""


def describe_grid(
    cloud: BlockCloud,
    spacing: float,
    map_from_view: Array,
    camera: Camera,
    settings: RenderSettings,
    model: XFeat,
) -> GridFeatures:
    """The features of a render as of `describe_view`, but at pixels of a grid instead of keypoints."""
    view = render_look(cloud, spacing, map_from_view, camera, settings)
    v, u = np.nonzero(view.depth[GRID // 2 :: GRID, GRID // 2 :: GRID])
    pixels = np.stack([u, v], axis=1).astype(np.float32) * GRID + GRID // 2
    points, _ = view.points_at(pixels)
    dense = dense_features(model, view.image)
    there = torch.from_numpy(pixels).to(dense.descriptors.device)
    return GridFeatures(there, points, descriptors_at(dense, there))


def describe_view(
    cloud: Blocks,
    spacing: float,
    map_from_view: Array,
    camera: Camera,
    settings: RenderSettings,
    networks: ViewNetworks,
) -> ViewFeatures:
    """Local features of a cloud, rendered for `camera` (without distortion) at a pose.

    The settings say in which look; `networks` are that look's. `spacing` is the distance in metres
    between the cloud's points. The points of the features are in the map's frame.
    """
    view = _render_where(cloud, spacing, map_from_view, camera, settings)
    keypoints = networks.describe_render(view, settings.keypoints)
    points, rows = view.known_points(keypoints.pixels)
    return ViewFeatures(points, keypoints.descriptors[rows])


def describe_densely(
    cloud: Blocks,
    spacing: float,
    poses: Sequence[Array],
    camera: Camera,
    settings: RenderSettings,
    networks: ShapeNetworks,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Dense descriptors (h, w, D) of such renders, and their reliability (h, w), 0 where they are empty."""
    views = [_render_where(cloud, spacing, pose, camera, settings) for pose in poses]
    return zip(*networks.describe_renders_densely(views), strict=True)


def _render_where(
    cloud: Blocks, spacing: float, map_from_view: Array, camera: Camera, settings: RenderSettings
) -> View:
    """A render on the device on which the cloud is."""
    scene = spacing, map_from_view, camera, settings
    return render_look(cloud, *scene) if isinstance(cloud, BlockCloud) else _render_there(cloud, *scene)


def render_look(
    cloud: BlockCloud, spacing: float, map_from_view: Array, camera: Camera, settings: RenderSettings
) -> RenderedView:
    """A cloud, rendered for `camera` (without distortion) at a pose, in the look that the settings name."""
    return _rendered(look_named(settings.look).render, cloud, spacing, map_from_view, camera, settings)


def _render_there(
    cloud: DeviceBlocks, spacing: float, map_from_view: Array, camera: Camera, settings: RenderSettings
) -> View:
    """The same on the device of the cloud."""
    render = look_named(settings.look).render_there
    assert render is not None, "clouds of other looks stay in main memory"
    return _rendered(render, cloud, spacing, map_from_view, camera, settings)


def _rendered(
    render: Callable[..., V],
    cloud: Blocks,
    spacing: float,
    map_from_view: Array,
    camera: Camera,
    settings: RenderSettings,
) -> V:
    view_from_map = invert(map_from_view)
    nearest, farthest = depths = settings.min_depth, settings.max_depth
    seen = cloud.seen(view_from_map, camera, depths)
    return render(seen, view_from_map, camera, spacing, min_depth=nearest, max_depth=farthest)


def describe_views(
    cloud: Blocks, spacing: float, poses: Array, settings: RenderSettings, networks: ViewNetworks
) -> Iterator[ViewFeatures | None]:
    """The features of each of the views (V, 4, 4), map_from_view, to store in a map: with points in the frame
    of the view. None for a view with less than `MIN_FEATURES`."""
    camera = settings.camera()
    for pose in poses:
        view = describe_view(cloud, spacing, pose, camera, settings, networks)
        in_view = ViewFeatures(transform_points(invert(pose), view.points), view.descriptors)
        yield in_view if len(in_view) >= MIN_FEATURES else None


def pack_features(views: Sequence[ViewFeatures]) -> tuple[list[int], Tensor, Tensor]:
    """Counts, points and descriptors of any number of views, as in `PackedViews`."""
    points = np.concatenate([np.zeros((0, 3)), *(view.points for view in views)])
    descriptors = torch.cat([torch.zeros(0, DIMENSION), *(view.descriptors.cpu() for view in views)])
    return [len(view) for view in views], torch.from_numpy(points.astype(np.float16)), descriptors.half()
