"""True poses at the times of a bag's images: from a TUM file, a topic, or TF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import compose, to_quaternion
from diff2i2p_core.geometry.timed_poses import TimedPoses
from diff2i2p_core.io.clouds import MAX_COORDINATE
from diff2i2p_core.io.trajectories import read_trajectory
from diff2i2p_core.messages.bag_rig import BagImages
from diff2i2p_core.messages.transform_tree import MAX_GAP
from diff2i2p_core.messages.transforms import is_pose
from diff2i2p_core.typing import Array


@dataclass(frozen=True)
class TruthSource:
    """At most one of the first three can be set."""

    file: Path | None = None
    topic: str | None = None
    tf: str | None = None
    """PARENT:CHILD, two frames in the bag's TF."""
    frame: str | None = None
    """The frame whose poses are in the file, or in a topic without child frames; by default the camera."""

    def __post_init__(self) -> None:
        sources = [self.file, self.topic, self.tf]
        if sum(source is not None for source in sources) > 1:
            raise InputError(
                "truth: a file, a topic and frames of TF exclude each other; give only one of them"
            )
        if self.tf is not None and len([name for name in self.tf.split(":") if name]) != 2:
            raise InputError(f"truth from TF '{self.tf}': expected PARENT:CHILD, such as map:base_link")

    @property
    def is_empty(self) -> bool:
        return self.file is None and self.topic is None and self.tf is None


@dataclass(frozen=True)
class Truth:
    """`at(stamp in ns)` is map_from_camera, or None in a gap of the source."""

    name: str
    at: Callable[[int], Array | None]
    notes: tuple[str, ...] = ()
    """Lines about poses that are left out."""


def open_truth(source: TruthSource, camera: BagImages, origin: Sequence[float] | None = None) -> Truth | None:
    """The truth from a source; None if it is empty. InputError if it covers none of the images.

    If the map has an `origin` (3,) far from zero, poses that far away are in the coordinates of the map's
    source, and are moved to those of the map.
    """
    truth = _opened(source, camera)
    if truth is not None and origin is not None and np.abs(origin).max() > MAX_COORDINATE:
        truth = _moved(truth, np.asarray(origin))
    if truth is not None and not any(truth.at(stamp) is not None for stamp in camera.stamps):
        first, last = camera.stamps[0] / 1e9, camera.stamps[-1] / 1e9
        raise InputError(
            f"{truth.name}: has no pose at the time of any image ({first:.3f} to {last:.3f} s); give one for "
            f"this recording, in its clock, with poses at most {MAX_GAP / 1e9:g} s apart"
        )
    return truth


def _moved(truth: Truth, origin: Array) -> Truth:
    def at(stamp: int) -> Array | None:
        pose = truth.at(stamp)
        if pose is None or np.abs(pose[:3, 3]).max() <= MAX_COORDINATE:
            return pose
        return compose(pose[:3, :3], pose[:3, 3] - origin)

    return replace(truth, at=at)


def _opened(source: TruthSource, camera: BagImages) -> Truth | None:
    frame = (source.frame or camera.frame).lstrip("/")
    if source.file is not None:
        notes: list[str] = []
        stamps, poses = read_trajectory(source.file, notes.append)
        rows = [(*pose[:3, 3], *to_quaternion(pose)) for pose in poses]
        timed = TimedPoses.of([round(stamp * 1e9) for stamp in stamps], rows)
        return _of_frame(str(source.file), timed, frame, camera, notes)
    if source.topic is not None:
        recorded = camera.index.poses
        if not recorded:
            raise InputError(f"{camera.path}: {source.topic} has no message; record it again")
        usable = [(stamp, row) for stamp, *_, row in recorded if is_pose(row)]
        left_out = len(recorded) - len(usable)
        words = (
            f"{camera.path}: {source.topic}: {left_out} of {len(recorded)} poses are not finite or have no "
        )
        if not usable:
            raise InputError(f"{words}unit quaternion; fix the recording")
        timed = TimedPoses.of([stamp for stamp, _ in usable], [row for _, row in usable])
        notes = [f"{words}unit quaternion, they are left out"] if left_out else []
        return _of_frame(source.topic, timed, (recorded[0][2] or frame).lstrip("/"), camera, notes)
    if source.tf is not None:
        parent, child = source.tf.split(":")
        tree = camera.index.tree

        def at(stamp: int) -> Array | None:
            parent_from_child = tree.at(parent, child, stamp)
            child_from_camera = tree.at(child, camera.frame, stamp)
            if parent_from_child is None or child_from_camera is None:
                return None
            return parent_from_child @ child_from_camera

        return Truth(f"TF {parent} -> {child}", at)
    return None


def _of_frame(
    name: str, map_from_frame: TimedPoses, frame: str, camera: BagImages, notes: Sequence[str]
) -> Truth:
    def at(stamp: int) -> Array | None:
        pose = map_from_frame.at(stamp, MAX_GAP)
        if pose is None or frame == camera.frame:
            return pose
        frame_from_camera = camera.index.tree.at(frame, camera.frame, stamp)
        return None if frame_from_camera is None else pose @ frame_from_camera

    return Truth(f"{name} (poses of {frame})", at, tuple(notes))
