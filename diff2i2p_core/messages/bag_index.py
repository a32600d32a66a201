"""What the first reading of a bag finds: transforms, calibrations and stamps."""

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
    """What the first reading of a bag finds."""

    tree: TransformTree = field(default_factory=TransformTree)
    infos: dict[str, Any] = field(default_factory=dict)
    """First camera_info of each topic."""
    stamps: dict[str, list[int]] = field(default_factory=dict)
    """Of the image and cloud topics asked for, ascending."""
    frames: dict[str, str] = field(default_factory=dict)
    """frame_id of the same."""
    begins: dict[str, int] = field(default_factory=dict)
    """When their first messages were recorded, in nanoseconds."""
    poses: list[tuple[int, str, str, tuple[float, ...]]] = field(default_factory=list)
    """Of the pose topic: stamp, parent, child or "" where the message names none, x y z qx qy qz qw."""

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
        """Let the pose topic's transforms stand for those of /tf."""
        for number, (stamp, parent, child, row) in enumerate(self.poses):
            if number == 0:
                self.tree.forget(child or camera_frame)
            self.tree.add(parent, child or camera_frame, stamp, row)

    def info_topic(self, bag: Bag, topic: str, info: str | None = None) -> str:
        """Calibration of an image topic: the topic `info`, the camera_info beside it, or the only one."""
        place = topic.removesuffix("/compressed").removesuffix("/compressedDepth").rpartition("/")[0]
        beside = f"{place}/camera_info"
        found = info or (beside if beside in self.infos or len(self.infos) != 1 else next(iter(self.infos)))
        if found not in self.infos:
            known = ", ".join(sorted(self.infos)) or "none"
            raise InputError(
                f"{bag.path}: no {found} for {topic}; name its camera_info topic, one of: {known}"
            )
        return found

    def camera(self, bag: Bag, topic: str, info: str | None = None, *, rectified: bool = False) -> Camera:
        """The camera of an image topic, by the first message of its `info_topic`."""
        found = self.info_topic(bag, topic, info)
        return camera_of(self.infos[found], f"{bag.path}: {found}", rectified=rectified)

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
    """Of ascending stamps the one nearest to another."""
    after = int(np.searchsorted(stamps, stamp))
    around = stamps[max(after - 1, 0) : after + 1]
    return int(around[np.abs(around - stamp).argmin()])
