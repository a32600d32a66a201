"""The frames of /tf and /tf_static over time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import from_quaternion, invert
from diff2i2p_core.geometry.timed_poses import TimedPoses
from diff2i2p_core.messages.transforms import is_pose
from diff2i2p_core.typing import Array

MAX_GAP = 500_000_000
"""Maximum nanoseconds between two transforms for interpolation."""
_DISORDER = 100_000_000
"""Nanoseconds by which stamps may go back: messages can overtake each other, but not by more."""


@dataclass
class _Link:
    """parent_from_child."""

    parent: str
    fault: str = ""
    """Why this link cannot be used, if so."""
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
        self._unusable: dict[str, str] = {}
        """Faults by child, of transforms that no lookup can use."""
        self._ignored = Counter[str]()

    def add(self, parent: str, child: str, stamp: int | None, row: tuple[float, ...]) -> None:
        """Add parent_from_child as (x, y, z, qx, qy, qz, qw) at `stamp` (ns), or for all times if None.

        A faulty transform is ignored and counted, as in tf2: most lookups do not need it. Those that need a
        frame with two parents, or with times out of order, raise an InputError.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if parent == child or not is_pose(row):
            words = "needs two frames, a finite position and a unit quaternion"
            self._unusable[child] = f"tf: {parent} -> {child} {words}; fix the transforms"
            self._ignored[f"{parent} -> {child} {words}"] += 1
            return
        link = self._links.setdefault(child, _Link(parent))
        if link.parent != parent:
            link.fault = f"tf: {child} has two parents, {link.parent} and {parent}; fix the transforms"
            self._ignored[f"{child} already has the parent {link.parent}, not {parent}"] += 1
        elif stamp is None:
            link.static = from_quaternion(row[:3], row[3:])
        elif link.stamps and stamp < link.stamps[-1] - _DISORDER:
            back = (link.stamps[-1] - stamp) / 1e9
            link.fault = link.fault or (
                f"tf: the stamps of {parent} -> {child} go back by {back:.1f} s "
                f"at {stamp / 1e9:.3f}; the times are out of order, cut the bag where the clock was set"
            )
            self._ignored[f"the stamps of {parent} -> {child} go back"] += 1
        else:
            link.stamps.append(stamp)
            link.rows.append(row)

    @property
    def notes(self) -> list[str]:
        """Lines about the transforms that are ignored."""
        return [f"tf: ignored {count} times: {why}" for why, count in self._ignored.items()]

    def forget(self, child: str) -> None:
        """Forget the transforms of a frame, to add them from another source."""
        self._links.pop(child.lstrip("/"), None)
        self._unusable.pop(child.lstrip("/"), None)

    def root(self, frame: str) -> str:
        """The root of the tree that `frame` is in."""
        root = self._chain(frame.lstrip("/"))[-1]
        if root == frame.lstrip("/") and root in self._unusable:
            raise InputError(self._unusable[root])
        return root

    def at(self, parent: str, child: str, stamp: int) -> Array | None:
        """(4, 4) parent_from_child at a stamp in nanoseconds. None if the recording has a gap there.

        Raises:
            InputError: the frames are not connected.
        """
        down, up = self._chain(child.lstrip("/")), self._chain(parent.lstrip("/"))
        common = next((name for name in down if name in up), None)
        if common is None:
            for root in (down[-1], up[-1]):
                if root in self._unusable:
                    raise InputError(self._unusable[root])
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
            if link.fault:
                raise InputError(link.fault)
            step = link.static if link.static is not None else link.poses.at(stamp, MAX_GAP)
            if step is None:
                return None
            total = step @ total
        return total
