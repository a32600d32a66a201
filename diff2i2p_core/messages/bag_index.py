"""The index of a bag, from reading it once: transforms, calibrations and stamps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.messages.bag_reader import Bag
from diff2i2p_core.messages.cameras import camera_of
from diff2i2p_core.messages.kinds import CAMERA_INFO, TRANSFORMS, stamp_of
from diff2i2p_core.messages.transform_tree import TransformTree
from diff2i2p_core.messages.transforms import pose_of, transform_row


@dataclass
class BagIndex:
    """Transforms, calibrations and stamps of a bag."""

    tree: TransformTree = field(default_factory=TransformTree)
    infos: dict[str, Any] = field(default_factory=dict)
    """The first camera_info of each topic."""
    stamps: dict[str, list[int]] = field(default_factory=dict)
    """Stamps of the requested image and cloud topics, ascending."""
    frames: dict[str, str] = field(default_factory=dict)
    """frame_id of the same topics."""
    begins: dict[str, int] = field(default_factory=dict)
    """When the first message of each was recorded, in nanoseconds."""
    poses: list[tuple[int, str, str, tuple[float, ...]]] = field(default_factory=list)
    """From the pose topic: stamp, parent, child ("" if the message has none), x y z qx qy qz qw."""

    @classmethod
    def of(cls, bag: Bag, topics: Sequence[str], pose_topic: str | None = None) -> BagIndex:
        """Read all transforms and calibrations, and the stamps of the image or cloud `topics`."""
        index = cls(stamps={topic: [] for topic in topics})
        transforms = bag.topics((TRANSFORMS,))
        infos = bag.topics((CAMERA_INFO,))
        pose_topics = [pose_topic] if pose_topic else []
        for topic, received, message in bag.read([*transforms, *infos, *pose_topics, *topics]):
            if topic in transforms:
                index._add_transforms(message, static=topic.endswith("tf_static"))
            elif topic in infos:
                index.infos.setdefault(topic, message)
            elif topic == pose_topic:
                index.poses.append((stamp_of(message), *pose_of(message)))
            else:
                index._add_stamp(bag, topic, message)
                index.begins.setdefault(topic, received)
        for topic, stamps in index.stamps.items():
            if not stamps:
                raise InputError(f"{bag.path}: {topic} has no message; record it again")
        return index

    def prefer_poses(self, camera_frame: str) -> None:
        """Use the pose topic's transforms instead of those of /tf."""
        for number, (stamp, parent, child, row) in enumerate(self.poses):
            if number == 0:
                self.tree.forget(child or camera_frame)
            self.tree.add(parent, child or camera_frame, stamp, row)

    def info_topic(self, bag: Bag, topic: str, info: str | None = None) -> str:
        """The calibration topic of an image topic: `info`, the camera_info beside it, or the only one."""
        parent = topic.removesuffix("/compressed").removesuffix("/compressedDepth").rpartition("/")[0]
        beside = f"{parent}/camera_info"
        name = info or (beside if beside in self.infos or len(self.infos) != 1 else next(iter(self.infos)))
        if name not in self.infos:
            known = ", ".join(sorted(self.infos)) or "none"
            raise InputError(
                f"{bag.path}: no {name} for {topic}; name its camera_info topic, one of: {known}"
            )
        return name

    def camera(self, bag: Bag, topic: str, info: str | None = None, *, rectified: bool = False) -> Camera:
        """The camera of an image topic, from the first message of its `info_topic`."""
        name = self.info_topic(bag, topic, info)
        return camera_of(self.infos[name], f"{bag.path}: {name}", rectified=rectified)

    def _add_transforms(self, message: Any, *, static: bool) -> None:
        for item in message.transforms:
            stamp = None if static else stamp_of(item)
            row = transform_row(item.transform)
            self.tree.add(item.header.frame_id, item.child_frame_id, stamp, row)

    def _add_stamp(self, bag: Bag, topic: str, message: Any) -> None:
        stamps, stamp = self.stamps[topic], stamp_of(message)
        if stamps and stamp <= stamps[-1]:
            raise InputError(
                f"{bag.path}: {topic}: the stamp {stamp / 1e9:.3f} comes after {stamps[-1] / 1e9:.3f}; the "
                "times are out of order, cut the bag where the clock was set"
            )
        stamps.append(stamp)
        self.frames[topic] = message.header.frame_id


def nearest(stamps: NDArray[np.int64], stamp: int) -> int:
    """The one of ascending `stamps` that is nearest to `stamp`."""
    after = int(np.searchsorted(stamps, stamp))
    around = stamps[max(after - 1, 0) : after + 1]
    return int(around[np.abs(around - stamp).argmin()])
