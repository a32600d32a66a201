"""A bag open for reading, and the choice of its topics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from diff2i2p_core.errors import InputError, reason
from diff2i2p_core.messages.cut_mcap import CutMcap, is_cut
from diff2i2p_core.messages.kinds import CAMERA_INFO, IMAGES, TRANSFORMS
from diff2i2p_core.messages.packets import PACKETS, as_compressed, define_packets

_RECOVERY = {".mcap": "mcap recover", ".db3": "sqlite3 FILE .recover", ".bag": "rosbag reindex"}
"""Commands that may save a damaged file, by its suffix."""


class Bag:
    """A bag open for reading. Any fault in it is an InputError, unless a part of it can be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_ros1 = path.suffix == ".bag" and path.is_file()
        """Then raw messages are serialized as in ROS 1; others have the names and fields of ROS 2."""
        self._unread: list[str] = []
        choices = _choices(path)
        if not choices:
            raise InputError(
                f"{path}: not a bag; give a folder with metadata.yaml, a .mcap, .db3 or .bag file"
            )
        faults = []
        for files in choices:
            try:
                self._reader = _opened(files)
            except InputError:
                raise
            except Exception as error:  # a broken file can make the reader raise anything
                faults.append(error)
                continue
            cut = [file.name for file in files if isinstance(file, CutMcap)]
            for name in cut:
                self._note(f"{name} has no end; it is read up to its last whole message")
            if faults and not cut:
                self._note(f"metadata.yaml does not fit ({reason(faults[0])}); the files beside it are read")
            break
        else:
            raise self._broken(faults[-1])
        if not self._reader.message_count:
            self._reader.close()
            raise InputError(f"{path}: holds no message; record it again{self.remark}")

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    @property
    def notes(self) -> list[str]:
        """Lines about what cannot be read."""
        return [f"{self.path}: {words}" for words in self._unread]

    @property
    def remark(self) -> str:
        """The same, for the end of an error message about something that is missing."""
        return f" ({'; '.join(self._unread)})" if self._unread else ""

    @property
    def begin(self) -> int:
        """When the first message was recorded, in nanoseconds."""
        return int(self._reader.start_time)

    def topics(self, kinds: Iterable[str]) -> dict[str, str]:
        """The topics with messages of these types, and their types."""
        return {c.topic: kind for c in self._reader.connections if (kind := _kind(c.msgtype)) in kinds}

    def read(self, topics: Iterable[str]) -> Iterator[tuple[str, int, Any]]:
        """The messages of these topics in the bag's order: topic, time of recording (ns), message."""
        for topic, received, kind, data in self.read_raw(topics):
            try:
                message = self._reader.deserialize(data, kind)
            except Exception as error:
                raise self._broken(error) from None
            if kind in PACKETS:
                message = as_compressed(message)
            yield topic, received, _lower_case(message) if kind == CAMERA_INFO and self.is_ros1 else message

    def read_raw(self, topics: Iterable[str]) -> Iterator[tuple[str, int, str, bytes]]:
        """The same, but with the type and the serialized message (CDR)."""
        wanted = set(topics)
        stream = self._reader.messages([c for c in self._reader.connections if c.topic in wanted])
        count = 0
        while True:
            try:
                connection, received, data = next(stream)
            except StopIteration:
                return
            except Exception as error:  # a broken file can make the reader raise anything
                if not count:
                    raise self._broken(error) from None
                self._note(f"the rest of it cannot be read ({reason(error)})")
                return
            count += 1
            yield connection.topic, received, connection.msgtype, data

    def _note(self, words: str) -> None:
        if words not in self._unread:
            self._unread.append(words)

    def _broken(self, error: Exception) -> InputError:
        what = " ".join(reason(error).split())
        suffixes = {file.suffix for files in _choices(self.path) for file in files}
        tools = (tool for suffix, tool in _RECOVERY.items() if suffix in suffixes)
        return InputError(
            f"{self.path}: cannot be read as a bag ({what}); record or copy it again, "
            f"or try `{next(tools, 'ros2 bag reindex')}`"
        )


def _choices(path: Path) -> list[list[Any]]:
    """What may be opened as the bag at `path`, the best first: the whole folder, or the files in it."""
    if path.is_file():
        return [[_whole(path)]]
    if not path.is_dir():
        return []
    files = [_whole(file) for file in sorted(path.iterdir()) if file.suffix in (".mcap", ".db3")]
    return [*([[path]] if (path / "metadata.yaml").is_file() else []), *([files] if files else [])]


def _kind(name: str) -> str:
    """The name in ROS 2 of a message type."""
    return TRANSFORMS if name == "tf/msg/tfMessage" else name


def _lower_case(message: Any) -> Any:
    """A message with ROS 2's names of its fields: ROS 1 has K, D and P."""
    return SimpleNamespace(**{name.lower(): value for name, value in vars(message).items()})


def _whole(file: Path) -> Path | CutMcap:
    return CutMcap(file) if file.suffix == ".mcap" and is_cut(file) else file


def _opened(files: list[Any]) -> Any:
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise InputError("reading bags needs rosbags; pip install 'diff2i2p_core[bags]'") from None
    # Before Iron, ROS 2 did not store message definitions in bags.
    reader = AnyReader(files, default_typestore=get_typestore(Stores.ROS2_HUMBLE))
    reader.open()
    define_packets(reader.typestore)
    return reader


def image_topic(bag: Bag, name: str | None) -> str:
    """The colour image topic `name`, or the only one."""
    images = set(bag.topics(IMAGES))
    candidates = images if name else {topic for topic in images if not _is_depth(topic)}
    return pick(bag, "colour image", name, candidates)


def depth_images(bag: Bag) -> set[str]:
    """The image topics whose names say depth."""
    return {topic for topic in bag.topics(IMAGES) if _is_depth(topic)}


def _is_depth(topic: str) -> bool:
    return "depth" in topic.lower()


def pick(bag: Bag, what: str, name: str | None, candidates: set[str]) -> str:
    """`name` if it is a candidate; without a name, the only candidate. Else InputError with a list."""
    known = ", ".join(sorted(candidates)) or "none"
    if name is not None:
        if name not in candidates:
            raise InputError(f"{bag.path}: {name}: no such {what} topic; there are: {known}{bag.remark}")
        return name
    if not candidates:
        raise InputError(f"{bag.path}: has no {what} topic; record one, or give its name{bag.remark}")
    if len(candidates) > 1:
        raise InputError(f"{bag.path}: has several {what} topics; name one of {known}")
    return next(iter(candidates))
