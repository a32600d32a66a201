"""The frames of /tf and /tf_static over time."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import from_quaternion, invert
from diff2i2p_core.geometry.timed_poses import TimedPoses
from diff2i2p_core.typing import Array

MAX_GAP = 500_000_000
"""Maximum nanoseconds between two transforms for interpolation."""
_DISORDER = 100_000_000
"""Nanoseconds by which stamps may go back: messages can overtake each other, but not by more."""


@dataclass
class _Link:
    """parent_from_child."""

    parent: str
    static: Array | None = None
    stamps: list[int] = field(default_factory=list)
    rows: list[tuple[float, ...]] = field(default_factory=list)

    @cached_property
    def poses(self) -> TimedPoses:
        """Use this only when all transforms are added."""
        return TimedPoses.of(self.stamps, self.rows)


class TransformTree:
    """First add all transforms of a recording, then look them up."""

    def __init__(self) -> None:
        self._links: dict[str, _Link] = {}

    def add(self, parent: str, child: str, stamp: int | None, row: tuple[float, ...]) -> None:
        """Add parent_from_child as (x, y, z, qx, qy, qz, qw) at `stamp` (ns), or for all times if None."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if not np.isfinite(row).all() or abs(np.linalg.norm(row[3:]) - 1) > 0.05:
            raise InputError(
                f"tf: {parent} -> {child} needs a finite position and a unit quaternion; fix the transforms"
            )
        link = self._links.setdefault(child, _Link(parent))
        if link.parent != parent:
            raise InputError(f"tf: {child} has two parents, {link.parent} and {parent}; fix the transforms")
        if stamp is None:
            link.static = from_quaternion(row[:3], row[3:])
            return
        if link.stamps and stamp < link.stamps[-1] - _DISORDER:
            raise InputError(
                f"tf: the stamps of {parent} -> {child} go back by {(link.stamps[-1] - stamp) / 1e9:.1f} s "
                f"at {stamp / 1e9:.3f}; the times are out of order, cut the bag where the clock was set"
            )
        link.stamps.append(stamp)
        link.rows.append(row)

    def forget(self, child: str) -> None:
        """Forget the transforms of a frame, to add them from another source."""
        self._links.pop(child.lstrip("/"), None)

    def root(self, frame: str) -> str:
        """The root of the tree that `frame` is in."""
        return self._chain(frame.lstrip("/"))[-1]

    def at(self, parent: str, child: str, stamp: int) -> Array | None:
        """(4, 4) parent_from_child at a stamp in nanoseconds. None if the recording has a gap there.

        Raises:
            InputError: the frames are not connected.
        """
        down, up = self._chain(child.lstrip("/")), self._chain(parent.lstrip("/"))
        common = next((name for name in down if name in up), None)
        if common is None:
            frames = {*self._links, *(link.parent for link in self._links.values())}
            known = ", ".join(sorted(frames)[:8]) or "nothing"
            raise InputError(
                f"tf: no transform connects {parent} and {child}; known frames are {known}; record /tf and "
                "/tf_static, or name frames or a pose topic that are in the bag"
            )
        common_from_child, common_from_parent = (
            self._climb(down, common, stamp),
            self._climb(up, common, stamp),
        )
        if common_from_child is None or common_from_parent is None:
            return None
        return invert(common_from_parent) @ common_from_child

    def _chain(self, frame: str) -> list[str]:
        chain = [frame]
        while chain[-1] in self._links:
            parent = self._links[chain[-1]].parent
            if parent in chain:
                raise InputError(f"tf: {parent} is its own ancestor; fix the transforms")
            chain.append(parent)
        return chain

    def _climb(self, chain: list[str], end: str, stamp: int) -> Array | None:
        """end_from_chain[0]."""
        total = np.eye(4)
        for frame in chain[: chain.index(end)]:
            link = self._links[frame]
            step = link.static if link.static is not None else link.poses.at(stamp, MAX_GAP)
            if step is None:
                return None
            total = step @ total
        return total
