"""What a ROS 2 bag holds: topics, transforms, calibrations and stamps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diff2i2p_core.data.preparation import rosbag_messages as messages
from diff2i2p_core.data.preparation.transform_tree import TransformTree
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera

_IMAGES = (messages.IMAGE, messages.COMPRESSED)


class Bag:
    """A bag that is open for reading; whatever is wrong with it is an InputError."""

    def __init__(self, path: Path) -> None:
        try:
            from rosbags.highlevel import AnyReader
            from rosbags.typesys import Stores, get_typestore
        except ImportError:
            raise InputError("reading bags needs rosbags; pip install 'diff2i2p_core[bags]'") from None
        self.path = path
        if path.suffix == ".bag":
            raise InputError(f"{path}: a ROS 1 bag; convert it with rosbags-convert first")
        if not path.exists() or (path.is_dir() and not (path / "metadata.yaml").is_file()):
            raise InputError(f"{path}: no bag; give a folder with metadata.yaml, a .mcap or a .db3 file")
        try:
            # ROS 2 before Iron left the definitions of messages out of its bags.
            self._reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
            self._reader.open()
        except Exception as error:  # whatever a broken file makes the reader raise
            raise self._broken(error) from None
        if not self._reader.message_count:
            self._reader.close()
            raise InputError(f"{path}: holds no message; record it again")

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def topics(self, kinds: Iterable[str]) -> dict[str, str]:
        """Topics whose messages are of these types, with the type."""
        return {c.topic: c.msgtype for c in self._reader.connections if c.msgtype in kinds}

    def read(self, topics: Iterable[str]) -> Iterator[tuple[str, Any]]:
        """The messages of these topics in the bag's order, with their topic."""
        wanted = set(topics)
        stream = self._reader.messages([c for c in self._reader.connections if c.topic in wanted])
        while True:
            try:
                connection, _, data = next(stream)
                message = self._reader.deserialize(data, connection.msgtype)
            except StopIteration:
                return
            except Exception as error:
                raise self._broken(error) from None
            yield connection.topic, message

    def _broken(self, error: Exception) -> InputError:
        what = " ".join(str(error).split())[:120] or type(error).__name__
        return InputError(f"{self.path}: cannot be read as a bag ({what}); record or copy it again")


@dataclass(frozen=True)
class BagTopics:
    """What of a bag is used; None: the only topic of that kind."""

    image: str | None = None
    depth: str | None = None
    """A depth image, or a PointCloud2; by default the only depth image, else the only cloud."""
    camera_info: str | None = None
    """Of the image; by default the one beside it."""
    pose: str | None = None
    """Poses that go before /tf: of the camera, or of the child_frame_id that the messages name."""
    world: str | None = None
    """Frame of the poses; the camera's topmost by default."""
    every: int = 1
    """Take every so many images."""
    apart: float = 0.02
    """Seconds that an image and its depth may be apart."""

    def chosen(self, bag: Bag) -> ChosenTopics:
        """Those of the bag; InputError where a name is missing or more than one would do."""
        images = bag.topics(_IMAGES)
        depths = {topic for topic in images if "depth" in topic.lower()}
        clouds = set(bag.topics((messages.CLOUD,)))
        if self.pose:
            _pick(bag, "--pose", "pose", self.pose, set(bag.topics(messages.POSES)))
        if self.camera_info:
            infos = set(bag.topics((messages.CAMERA_INFO,)))
            _pick(bag, "--camera-info", "camera_info", self.camera_info, infos)
        colors = set(images) if self.image else set(images) - depths
        image = _pick(bag, "--image", "colour image", self.image, colors)
        candidates = set(images) | clouds if self.depth else depths or clouds
        depth = _pick(bag, "--depth", "depth image or cloud", self.depth, candidates)
        return ChosenTopics(image, depth, depth in clouds, self.pose)


@dataclass(frozen=True)
class ChosenTopics:
    """Topics that are in the bag."""

    image: str
    depth: str
    depth_is_cloud: bool
    pose: str | None


def _pick(bag: Bag, option: str, what: str, name: str | None, candidates: set[str]) -> str:
    known = ", ".join(sorted(candidates)) or "none"
    if name is not None:
        if name not in candidates:
            raise InputError(f"{bag.path}: {option} {name}: no such {what} topic; there are: {known}")
        return name
    if not candidates:
        raise InputError(f"{bag.path}: has no {what} topic; record one, or name it with {option}")
    if len(candidates) > 1:
        raise InputError(f"{bag.path}: has several {what} topics; choose with {option} among {known}")
    return next(iter(candidates))


@dataclass
class BagIndex:
    """What the first reading of a bag finds."""

    tree: TransformTree = field(default_factory=TransformTree)
    infos: dict[str, Any] = field(default_factory=dict)
    """First camera_info of each topic."""
    stamps: dict[str, list[int]] = field(default_factory=dict)
    """Of the image's and the depth's topic, ascending."""
    frames: dict[str, str] = field(default_factory=dict)
    """frame_id of the same."""

    @classmethod
    def of(cls, bag: Bag, topics: ChosenTopics) -> BagIndex:
        """Read all transforms, calibrations and stamps."""
        index = cls(stamps={topics.image: [], topics.depth: []})
        transforms = bag.topics((messages.TRANSFORMS,))
        infos = bag.topics((messages.CAMERA_INFO,))
        poses: list[Any] = []
        pose_topics = [topics.pose] if topics.pose else []
        for topic, message in bag.read([*transforms, *infos, *pose_topics, topics.image, topics.depth]):
            if topic in transforms:
                index._add_transforms(message, static=topic.endswith("tf_static"))
            elif topic in infos:
                index.infos.setdefault(topic, message)
            elif topic == topics.pose:
                poses.append(message)
            else:
                index._add_stamp(bag, topic, message)
        for topic, stamps in index.stamps.items():
            if not stamps:
                raise InputError(f"{bag.path}: {topic} has no message; record it again")
        for number, message in enumerate(poses):
            parent, child, row = messages.pose_of(message, index.frames[topics.image])
            if number == 0:
                index.tree.forget(child)
            index.tree.add(parent, child, messages.stamp_of(message), row)
        return index

    def camera(self, bag: Bag, topic: str, info: str | None = None) -> Camera:
        """The camera of an image topic: of the topic `info`, the camera_info beside it, or the only one."""
        place = topic.removesuffix("/compressed").removesuffix("/compressedDepth").rpartition("/")[0]
        beside = f"{place}/camera_info"
        found = info or (beside if beside in self.infos or len(self.infos) != 1 else next(iter(self.infos)))
        if found not in self.infos:
            known = ", ".join(sorted(self.infos)) or "none"
            raise InputError(f"{bag.path}: no {found} for {topic}; choose with --camera-info among: {known}")
        return messages.camera_of(self.infos[found], f"{bag.path}: {found}")

    def _add_transforms(self, message: Any, *, static: bool) -> None:
        for item in message.transforms:
            stamp = None if static else messages.stamp_of(item)
            row = messages.transform_row(item.transform)
            self.tree.add(item.header.frame_id, item.child_frame_id, stamp, row)

    def _add_stamp(self, bag: Bag, topic: str, message: Any) -> None:
        stamps, stamp = self.stamps[topic], messages.stamp_of(message)
        if stamps and stamp <= stamps[-1]:
            raise InputError(
                f"{bag.path}: {topic}: the stamp {stamp / 1e9:.3f} comes after {stamps[-1] / 1e9:.3f}; the "
                "times are out of order, cut the bag where the clock was set"
            )
        stamps.append(stamp)
        self.frames[topic] = message.header.frame_id
