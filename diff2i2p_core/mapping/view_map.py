"""What a map stores for rendered views: their features, and the cloud for rendering more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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


@dataclass(frozen=True)
class ViewMap:
    views: PackedViews
    cloud: BlockCloud
    """Finer than the cloud for display."""
    spacing: float
    """Metres between the points of `cloud`."""
    networks: State = field(default_factory=dict)
    """Weights of the networks that described the views, if no others fit."""

    @property
    def look(self) -> Look:
        """What the views show. InputError if it is unknown."""
        return look_named(self.views.settings.look)

    def settings_dict(self) -> dict[str, Any]:
        """JSON types. Together with `tensors`, this is what `from_file` needs."""
        return {"spacing": self.spacing, "views": self.views.settings_dict()}

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
        )
        if not made.look.is_in(cloud):
            raise InputError(f"its views show {made.look.shows}, which its points do not have")
        return made

    @staticmethod
    def joined(parts: Sequence[ViewMap], offsets: Sequence[Array]) -> ViewMap:
        """Several as one, each moved by its offset (3,) in metres. InputError if other networks made each."""
        networks = parts[0].networks
        for part in parts[1:]:
            if networks.keys() != part.networks.keys() or any(
                not torch.equal(networks[name], part.networks[name]) for name in networks
            ):
                raise InputError("the maps' views were made with other weights; build them with the same")
        moved, clouds = [], []
        for part, offset in zip(parts, offsets, strict=True):
            moved.append(replace(part.views, poses=compose(np.eye(3), offset) @ part.views.poses))
            clouds.append(part.cloud.cloud.shifted(offset))
        blocks = BlockCloud.of(PointCloud.joined(clouds))
        return ViewMap(PackedViews.joined(moved), blocks, max(part.spacing for part in parts), networks)
