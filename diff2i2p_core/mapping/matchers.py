"""Selects the kinds of features of a map, by what its cloud allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, get_args

from diff2i2p_core.errors import InputError

if TYPE_CHECKING:
    from diff2i2p_core.mapping.looks import Look

Matcher = Literal["auto", "views", "network", "depth"]
MATCHERS: tuple[Matcher, ...] = get_args(Matcher)
"""What images are matched with: rendered views of the map, the network's submaps, the map's surface, to which
the depth of each image is registered, or all that is possible."""


def checked_matcher(name: str) -> Matcher:
    """`name` if it is one of `MATCHERS`, else InputError."""
    for known in MATCHERS:
        if name == known:
            return known
    raise InputError(f"`matcher` '{name}': unknown; use one of {', '.join(MATCHERS)}")


def kinds_for(matcher: Matcher, look: Look, note: Callable[[str], None] = lambda line: None) -> list[str]:
    """The kinds of features, "views" and "network", for a map of a cloud whose views have this look.

    The matcher `depth` needs none. `note` gets a line if views would be possible, but their weights are not
    available. InputError if the matcher cannot be used.
    """
    if matcher == "depth":
        return []
    if matcher == "network":
        return ["network"]
    try:
        look.weights()
    except InputError as error:
        if matcher == "views":
            raise
        note(f"no rendered views: {error}")
        return ["network"]
    return ["views"] if matcher == "views" else ["views", "network"]
