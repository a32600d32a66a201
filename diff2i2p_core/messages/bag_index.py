"""The index of a bag, from reading it once: transforms, calibrations and stamps."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.messages.bag_reader import Bag
from diff2i2p_core.messages.calibrations import Calibrations
from diff2i2p_core.messages.kinds import CAMERA_INFO, TRANSFORMS, stamp_of
from diff2i2p_core.messages.packets import checked_codec, is_video
from diff2i2p_core.messages.transform_tree import TransformTree
from diff2i2p_core.messages.transforms import pose_of, transform_row
from diff2i2p_core.messages.video import VideoDecoder

TRANSPORTS = ("compressed", "compressedDepth", "ffmpeg", "foxglove")
"""Names that image_transport's plugins add to the topic."""


@dataclass
class BagIndex:
    """Transforms, calibrations and stamps of a bag."""

    tree: TransformTree = field(default_factory=TransformTree)
    infos: dict[str, Calibrations] = field(default_factory=dict)
    """The camera_info messages of each topic."""
    stamps: dict[str, list[int]] = field(default_factory=dict)
    """Stamps of the requested image and cloud topics, ascending."""
    received: dict[str, list[int]] = field(default_factory=dict)
    """When the same messages were recorded, in nanoseconds."""
    frames: dict[str, str] = field(default_factory=dict)
    """frame_id of the same topics."""
    poses: list[tuple[int, str, str, tuple[float, ...]]] = field(default_factory=list)
    """From the pose topic: stamp, parent, child ("" if the message has none), x y z qx qy qz qw."""
    notes: list[str] = field(default_factory=list)
    """Lines about messages that are left out."""
    videos: dict[str, str] = field(default_factory=dict)
    """The codecs of those topics whose images are packets of a video."""
    _kept: dict[str, set[int]] = field(default_factory=dict)
    """Positions of the messages with these stamps in their topics."""

    @classmethod
    def of(cls, bag: Bag, topics: Sequence[str], pose_topic: str | None = None) -> BagIndex:
        """Read all transforms and calibrations, and the stamps of the image or cloud `topics`.

        Messages without a stamp, or whose stamps are there twice or out of order, are left out.
        """
        index = cls(stamps={topic: [] for topic in topics}, received={topic: [] for topic in topics})
        transforms = bag.topics((TRANSFORMS,))
        infos = bag.topics((CAMERA_INFO,))
        pose_topics = [pose_topic] if pose_topic else []
        for topic, received, message in bag.read([*transforms, *infos, *pose_topics, *topics]):
            if topic in transforms:
                index._add_transforms(message, static=topic.endswith("tf_static"))
            elif topic in infos:
                index.infos.setdefault(topic, Calibrations()).add(message, stamp_of(message), received)
            elif topic == pose_topic:
                index.poses.append((stamp_of(message), *pose_of(message)))
            else:
                index.stamps[topic].append(stamp_of(message))
                index.received[topic].append(received)
                index.frames[topic] = message.header.frame_id
                if is_video(message):
                    index.videos[topic] = checked_codec(message, f"{bag.path}: {topic}")
        for topic in topics:
            index._leave_out(bag, topic)
        index.notes += [*bag.notes, *index.tree.notes]
        return index

    def read(self, bag: Bag, topics: Iterable[str]) -> Iterator[tuple[str, int, Any]]:
        """The messages of the requested `topics` that are not left out: topic, time of recording, message.

        Packets of a video become images.
        """
        positions = Counter[str]()
        decoders = {topic: VideoDecoder(codec) for topic, codec in self.videos.items()}
        for topic, received, message in bag.read(topics):
            if topic in decoders:
                message = decoders[topic].image(message)
            position = positions[topic]
            positions[topic] += 1
            if position in self._kept[topic]:
                yield topic, received, message

    def prefer_poses(self, camera_frame: str) -> None:
        """Use the pose topic's transforms instead of those of /tf."""
        for number, (stamp, parent, child, row) in enumerate(self.poses):
            if number == 0:
                self.tree.forget(child or camera_frame)
            self.tree.add(parent, child or camera_frame, stamp, row)

    def info_topic(self, bag: Bag, topic: str, info: str | None = None) -> str:
        """The calibration topic of an image topic: `info`, the camera_info beside it, or the only one."""
        parent = base_topic(topic).rpartition("/")[0]
        beside = f"{parent}/camera_info"
        name = info or (beside if beside in self.infos or len(self.infos) != 1 else next(iter(self.infos)))
        if name not in self.infos:
            known = ", ".join(sorted(self.infos)) or "none"
            raise InputError(
                f"{bag.path}: no {name} for {topic}; name its camera_info topic, one of: {known}{bag.remark}"
            )
        return name

    def _add_transforms(self, message: Any, *, static: bool) -> None:
        for item in message.transforms:
            stamp = None if static else stamp_of(item)
            row = transform_row(item.transform)
            self.tree.add(item.header.frame_id, item.child_frame_id, stamp, row)

    def _leave_out(self, bag: Bag, topic: str) -> None:
        """Leave out the messages of a topic without a usable stamp."""
        stamps = self.stamps[topic]
        kept = _ascending(stamps)
        if not kept:
            why = "all its stamps are 0; the driver must stamp them" if stamps else "has no message"
            raise InputError(f"{bag.path}: {topic}: {why}; record it again")
        if len(kept) < len(stamps):
            self.notes.append(
                f"{bag.path}: {topic}: {len(stamps) - len(kept)} of {len(stamps)} messages left out, because "
                "their stamps are 0, there twice or out of order"
            )
        self._kept[topic] = set(kept)
        self.stamps[topic] = [stamps[position] for position in kept]
        self.received[topic] = [self.received[topic][position] for position in kept]


def _ascending(stamps: Sequence[int]) -> list[int]:
    """The positions of the longest ascending subsequence of the stamps above 0, the first one of several.

    So one stamp that is far ahead does not cost all messages after it.
    """
    longest = [0] * len(stamps)
    """Of the subsequences that begin with each stamp."""
    begins: list[int] = []  # for each length, minus the largest stamp that begins such a subsequence
    for position in range(len(stamps) - 1, -1, -1):
        if stamps[position] > 0:
            length = bisect_left(begins, -stamps[position])
            begins[length : length + 1] = [-stamps[position]]
            longest[position] = length + 1
    kept, last = list[int](), 0
    for position, stamp in enumerate(stamps):
        if stamp > last and longest[position] == len(begins) - len(kept):
            kept.append(position)
            last = stamp
    return kept


def base_topic(topic: str) -> str:
    """The topic of the raw images that an image_transport's topic belongs to."""
    base, _, transport = topic.rpartition("/")
    return base if transport in TRANSPORTS else topic


def nearest(stamps: NDArray[np.int64], stamp: int) -> int:
    """The one of ascending `stamps` that is nearest to `stamp`."""
    after = int(np.searchsorted(stamps, stamp))
    around = stamps[max(after - 1, 0) : after + 1]
    return int(around[np.abs(around - stamp).argmin()])
