"""What the views rendered from a map show: its colours or its intensity. A look is an entry of `LOOKS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.models.xfeat import XFeat
from diff2i2p_core.ops.render_view import RenderedView, render_view
from diff2i2p_core.typing import Array
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
    """The file with the weights of the network that describes renders, fetched at first use."""
    load: Callable[[], XFeat]
    """That network, for inference. Images are always described by `load_xfeat()`."""


LOOKS = {
    look.name: look
    for look in (
        Look(
            "colors",
            "colours",
            lambda cloud: cloud.colors is not None,
            render_view,
            xfeat_weights,
            load_xfeat,
        ),
        Look(
            "intensity",
            "intensity",
            lambda cloud: cloud.intensity is not None,
            render_view,
            xfeat_weights,
            load_xfeat,
        ),
    )
}
"""By name; the first one that is in a cloud is used."""


def look_of(cloud: PointCloud) -> Look | None:
    """What views of a cloud show. None if it has nothing to render."""
    return next((look for look in LOOKS.values() if look.is_in(cloud)), None)


def look_named(name: str) -> Look:
    """The look that a map records. InputError if it is unknown."""
    if name not in LOOKS:
        raise InputError(f"its views show '{name}', but only {', '.join(LOOKS)} can be rendered here")
    return LOOKS[name]


@dataclass(frozen=True)
class ViewNetworks:
    """The networks that describe images and renders, so that they can be matched."""

    image: XFeat
    render: XFeat

    @classmethod
    def load(cls, look: Look, device: str = "cpu") -> ViewNetworks:
        """One network for both if the look has no other."""
        image = load_xfeat().to(device)
        return cls(image, image if look.load is load_xfeat else look.load().to(device))
