"""What the views rendered from a map show: colours, intensity or only its shape. A look is in `LOOKS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.models.view_networks import PictureNetworks, ShapeNetworks, State, ViewNetworks
from diff2i2p_core.ops.device_cloud import DeviceCloud
from diff2i2p_core.ops.render_scan import render_scan
from diff2i2p_core.ops.render_there import View, render_shape_there, render_view_there
from diff2i2p_core.ops.render_view import RenderedView, render_shape, render_view
from diff2i2p_core.typing import Array
from diff2i2p_core.weights.geometry import geometry_of, geometry_weights, load_geometry
from diff2i2p_core.weights.xfeat import load_xfeat, xfeat_weights


class Render(Protocol):
    """Renders a cloud whose points are `spacing` metres apart, between two depths in metres."""

    def __call__(
        self,
        cloud: PointCloud,
        camera_from_cloud: Array,
        camera: Camera,
        spacing: float,
        *,
        min_depth: float,
        max_depth: float,
    ) -> RenderedView: ...


class RenderThere(Protocol):
    """The same on the device of the points."""

    def __call__(
        self,
        cloud: DeviceCloud,
        camera_from_cloud: Array,
        camera: Camera,
        spacing: float,
        *,
        min_depth: float,
        max_depth: float,
    ) -> View: ...


@dataclass(frozen=True)
class Look:
    name: str
    """Recorded in map files."""
    shows: str
    """The same in words."""
    is_in: Callable[[PointCloud], bool]
    """Whether a cloud has what is needed to render it so."""
    render: Render
    weights: Callable[[], Path]
    """The file with the weights of the networks that describe images and renders, fetched at first use."""
    networks: Callable[[str, State | None], ViewNetworks]
    """These networks on a device; with other weights than those of the file if given."""
    unlike_photos: bool = False
    """Whether renders look so different from images that they are, near a prior, described everywhere and
    matched near the prediction (`localization.near_matches`)."""
    compared: bool = False
    """Whether images are compared with renders everywhere (`localization.pose_search`)."""
    focal: float = 420.0
    """Pixels, of renders of dense clouds."""
    render_there: RenderThere | None = None
    """If given, the points can stay on the networks' device."""


def _xfeat(device: str, state: State | None = None) -> ViewNetworks:
    if state:
        raise InputError("the weights are for clouds without colours and intensity; give no weights")
    return PictureNetworks(load_xfeat(), device)


def _geometry(device: str, state: State | None = None) -> ViewNetworks:
    return ShapeNetworks(load_geometry() if not state else geometry_of(state), device)


LOOKS = {
    look.name: look
    for look in (
        Look(
            "colors",
            "colours",
            lambda cloud: cloud.colors is not None,
            render_view,
            xfeat_weights,
            _xfeat,
            render_there=render_view_there,
        ),
        Look(
            "intensity",
            "intensity",
            lambda cloud: cloud.intensity is not None,
            render_scan,
            xfeat_weights,
            _xfeat,
            unlike_photos=True,
        ),
        Look(
            "geometry",
            "shape",
            lambda cloud: True,
            render_shape,
            geometry_weights,
            _geometry,
            compared=True,
            focal=260.0,
            render_there=render_shape_there,
        ),
    )
}
"""By name; the first one that is in a cloud is used."""


def look_of(cloud: PointCloud) -> Look:
    """What views of a cloud show."""
    return next(look for look in LOOKS.values() if look.is_in(cloud))


def look_named(name: str) -> Look:
    """The look that a map records. InputError if it is unknown."""
    if name not in LOOKS:
        raise InputError(f"its views show '{name}', but only {', '.join(LOOKS)} can be rendered here")
    return LOOKS[name]
