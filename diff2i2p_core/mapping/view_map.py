"""What a map stores for rendered views: their features, and the cloud for rendering more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import ATTRIBUTES, PointCloud
from diff2i2p_core.geometry.se3 import compose
from diff2i2p_core.mapping.blocks import BLOCK_ARRAYS, BlockCloud
from diff2i2p_core.mapping.looks import Look, look_named
from diff2i2p_core.mapping.packed_views import PackedViews
from diff2i2p_core.models.view_networks import State
from diff2i2p_core.typing import Array
from diff2i2p_core.weights.geometry import geometry_state


@dataclass(frozen=True)
class ViewMap:
    views: PackedViews
    cloud: BlockCloud
    """Finer than the cloud for display."""
    spacing: float
    """Metres between the points of `cloud`."""
    networks: State = field(default_factory=dict)
    """Weights of the networks that described the views, if no others fit."""
    tuned: bool = False
    """Whether the user gave these weights; else the package that built the map did."""

    @property
    def look(self) -> Look:
        """What the views show. InputError if it is unknown."""
        return look_named(self.views.settings.look)

    @cached_property
    def doubts(self) -> list[str]:
        """A line if an earlier version of the package described the views: its networks are in the map and
        are used, but those installed now may find more. Maps of such versions do not record `tuned`."""
        if not self.networks or self.tuned or _equal(self.networks, geometry_state(self.look.weights())):
            return []
        return [
            f"the map's views of its {self.look.shows} were described with other weights than the installed "
            "ones, which may find more; build the map again, unless the weights are your own"
        ]

    def settings_dict(self) -> dict[str, Any]:
        """JSON types. Together with `tensors`, this is what `from_file` needs."""
        return {"spacing": self.spacing, "tuned": self.tuned, "views": self.views.settings_dict()}

    def tensors(self) -> dict[str, Any]:
        """Arrays and tensors by name."""
        cloud = {"points": self.cloud.cloud.points, **self.cloud.cloud.attributes}
        blocks = {name: getattr(self.cloud, name) for name in BLOCK_ARRAYS}
        return {
            **{f"views.{name}": values for name, values in self.views.tensors().items()},
            **{f"rendered.{name}": values for name, values in (cloud | blocks).items()},
            **{f"matching.{name}": values for name, values in self.networks.items()},
        }

    @classmethod
    def from_file(cls, settings: dict[str, Any], tensors: dict[str, Tensor]) -> ViewMap:
        """InputError, KeyError or TypeError if they are inconsistent."""
        part = {name.partition(".")[2]: t for name, t in tensors.items() if name.startswith("rendered.")}
        cloud = PointCloud(**{name: part[name].numpy() for name in ("points", *ATTRIBUTES) if name in part})
        views = {name.partition(".")[2]: t for name, t in tensors.items() if name.startswith("views.")}
        networks = {name.partition(".")[2]: t for name, t in tensors.items() if name.startswith("matching.")}
        made = cls(
            PackedViews.from_tensors(settings["views"], views),
            BlockCloud(cloud, **{name: part[name].numpy() for name in BLOCK_ARRAYS}),
            float(settings["spacing"]),
            networks,
            bool(settings.get("tuned", False)),
        )
        if not made.look.is_in(cloud):
            raise InputError(f"its views show {made.look.shows}, which its points do not have")
        return made

    @staticmethod
    def joined(parts: Sequence[ViewMap], offsets: Sequence[Array]) -> ViewMap:
        """Several as one, each moved by its offset (3,) in metres. InputError if other networks made each."""
        networks = parts[0].networks
        if not all(_equal(networks, part.networks) for part in parts[1:]):
            raise InputError("the maps' views were made with other weights; build them with the same")
        moved, clouds = [], []
        for part, offset in zip(parts, offsets, strict=True):
            moved.append(replace(part.views, poses=compose(np.eye(3), offset) @ part.views.poses))
            clouds.append(part.cloud.cloud.shifted(offset))
        blocks = BlockCloud.of(PointCloud.joined(clouds))
        spacing, tuned = max(part.spacing for part in parts), any(part.tuned for part in parts)
        return ViewMap(PackedViews.joined(moved), blocks, spacing, networks, tuned)


def _equal(networks: State, others: State) -> bool:
    """Whether these are the same weights."""
    return networks.keys() == others.keys() and all(
        torch.equal(values, others[name]) for name, values in networks.items()
    )
