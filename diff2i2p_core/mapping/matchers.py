"""Which features a map is given, by what its cloud allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.weights.xfeat import xfeat_weights

Matcher = Literal["auto", "views", "network"]
MATCHERS: tuple[Matcher, ...] = get_args(Matcher)
"""What images are matched with: views rendered from the map, the network's submaps, or what a map allows."""


def checked_matcher(name: str) -> Matcher:
    """InputError unless it is one of `MATCHERS`."""
    for known in MATCHERS:
        if name == known:
            return known
    raise InputError(f"matcher '{name}': unknown; use one of {', '.join(MATCHERS)}")


def features_for(
    matcher: Matcher, cloud: PointCloud, name: str, note: Callable[[str], None] = lambda line: None
) -> list[str]:
    """The kinds of features, "views" and "network", for a map of a cloud; `name` is what errors call it.

    `note` gets a line where views would be possible but their weights cannot be had.
    """
    if matcher == "network" or (matcher == "auto" and cloud.colors is None):
        return ["network"]
    if cloud.colors is None:
        raise InputError(f"{name}: views are rendered in colour, and it has none; use the network")
    if matcher == "views":
        xfeat_weights()
        return ["views"]
    try:
        xfeat_weights()
    except InputError as error:
        note(f"no rendered views: {error}")
        return ["network"]
    return ["views", "network"]
