"""The proposers of a map, by the features that it has, and the weights that they need."""

from __future__ import annotations

from pathlib import Path

from diff2i2p_core.localization.hypothesis import Proposer
from diff2i2p_core.localization.network import Diff2I2PNetwork
from diff2i2p_core.localization.registered_depth import RegisteredDepth
from diff2i2p_core.localization.rendered_views import RenderedViews
from diff2i2p_core.mapping.features import Features
from diff2i2p_core.mapping.map_file import MapInfo, PointMap
from diff2i2p_core.mapping.matchers import Matcher
from diff2i2p_core.mapping.surface import Surface
from diff2i2p_core.weights.checkpoint import installed_weights, resolve_weights, weights_id


def proposers_of(point_map: PointMap, features: Features, matcher: Matcher = "auto") -> list[Proposer]:
    """The matcher's proposers that the map has features for and whose networks are given, in order of use."""
    proposers: list[Proposer] = []
    if point_map.rendered is not None and features.views is not None:
        proposers.append(RenderedViews(features.views, point_map.rendered))
    if matcher in ("auto", "depth"):
        proposers.append(RegisteredDepth(surface_of(point_map), needs_depth=matcher == "depth"))
    if len(point_map.submaps) and features.network is not None:
        proposers.append(Diff2I2PNetwork(features.network, point_map))
    return proposers


def surface_of(point_map: PointMap) -> Surface:
    """The surface of the map's cloud, computed when it is used."""
    return Surface(point_map.cloud, point_map.spacing, point_map.viewpoints)


def network_weights(info: MapInfo, weights: str | Path | None, map_name: str) -> Path:
    """The file of the network's weights that a map was built with. InputError if others are given."""
    if weights is None:
        installed = (resolve_weights(name) for name in installed_weights())
        path = next((p for p in installed if weights_id(p) == info.weights_id), None) or resolve_weights()
    else:
        path = resolve_weights(weights)
    info.check_weights(str(weights or path.stem), weights_id(path), map_name)
    return path
