"""The networks that compute a map's features, and maps built with them in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.mapping.build import map_from_views, map_info, sees_nothing, thinned
from diff2i2p_core.mapping.denoise import denoised
from diff2i2p_core.mapping.describe import describe_views, pack_features, rendering_of
from diff2i2p_core.mapping.device_blocks import placed
from diff2i2p_core.mapping.looks import LOOKS, Look, look_of
from diff2i2p_core.mapping.map_file import PointMap
from diff2i2p_core.mapping.matchers import Matcher, kinds_for
from diff2i2p_core.mapping.packed_views import PackedViews
from diff2i2p_core.mapping.source import RENDER_SPACING, MapSource
from diff2i2p_core.mapping.view_map import ViewMap
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.view_networks import ViewNetworks
from diff2i2p_core.typing import Array, Progress
from diff2i2p_core.weights.checkpoint import load_model, resolve_weights
from diff2i2p_core.weights.device import checked_device
from diff2i2p_core.weights.geometry import geometry_state, split_weights


@dataclass(frozen=True)
class Features:
    """The networks that compute a map's features. None for a kind that the map does not have."""

    views: ViewNetworks | None
    """For rendered views."""
    network: Diff2I2P | None
    weights: Path | None = None
    """The file with the network's weights."""
    tuned: bool = False
    """Whether `views` have weights that the user gave."""

    @classmethod
    def load(
        cls,
        matcher: Matcher,
        weights: Path | str | None = None,
        device: str = "cpu",
        *,
        look: Look,
        note: Callable[[str], None] = lambda line: None,
    ) -> Features:
        """Load what a matcher needs for a cloud whose views have this look; see `kinds_for`."""
        kinds = kinds_for(matcher, look, note)
        checked_device(device)
        weights, own = split_weights(weights)
        path = resolve_weights(weights, colored=look is LOOKS["colors"])
        state = None if own is None else geometry_state(own)
        return cls(
            look.networks(device, state) if "views" in kinds else None,
            load_model(path, device) if "network" in kinds else None,
            path,
            own is not None,
        )

    def of(self, source: MapSource, name: str, progress: Progress | None = None) -> PointMap:
        """Build a map from a source named `name`. InputError if no view sees enough of it."""
        assert self.weights is not None
        source = replace(source, cloud=denoised(source.cloud, progress))
        info, rendered = map_info(self.weights, name), None
        if self.views is not None:
            rendered = view_map_of(source.cloud, source.render_views, self.views, progress, tuned=self.tuned)
        if self.network is not None:
            try:
                made = map_from_views(source.cloud, source.submap_views, self.network, info, progress)
                return replace(made, rendered=rendered)
            except InputError:
                if rendered is None:
                    raise
        if rendered is None and self.views is not None:
            raise sees_nothing(info, len(source.render_views))
        shown = thinned(source.cloud, info.settings).thinned(info.spacing)
        views = np.empty((0, 4, 4)) if rendered is not None else source.submap_views
        return PointMap(info, shown, views, [], rendered)


def view_map_of(
    cloud: PointCloud,
    poses: Array,
    networks: ViewNetworks,
    progress: Progress | None = None,
    *,
    tuned: bool = False,
) -> ViewMap | None:
    """Render views (V, 4, 4) of a cloud and compute their features, with `tuned` weights of the user or the
    package's. None if no view sees enough."""
    blocks = BlockCloud.of(cloud.thinned(RENDER_SPACING))
    spacing, settings = rendering_of(blocks, look_of(cloud))
    views, numbers, there = [], [], placed(blocks, look_of(cloud), networks.device)
    for number, view in enumerate(describe_views(there, spacing, poses, settings, networks)):
        if view is not None:
            views.append(view)
            numbers.append(number)
        if progress is not None:
            progress("rendering views", number + 1, len(poses))
    if not numbers:
        return None
    packed = PackedViews.of(settings, poses[numbers], *pack_features(views))
    return ViewMap(packed, blocks, spacing, networks.state(), tuned)
