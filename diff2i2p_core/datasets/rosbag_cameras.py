"""The calibrations of a bag's images, for a folder of frames that has one camera."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.messages.bag_index import BagIndex
from diff2i2p_core.messages.bag_reader import Bag
from diff2i2p_core.messages.cameras import camera_of, has_size
from diff2i2p_core.messages.images import size_of


def cameras_of(bag: Bag, index: BagIndex, topic: str, info: str | None = None) -> list[Camera | None]:
    """The camera in force at each image of a topic, from its camera_info topic (default: the one beside it).

    None where it is not usable. InputError if none is.
    """
    name = index.info_topic(bag, topic, info)
    infos = index.infos[name]
    size = None if all(map(has_size, infos.distinct)) else _image_size(bag, index, topic)
    cameras: list[Camera | None] = []
    faults = []
    for message in infos.distinct:
        try:
            cameras.append(camera_of(message, f"{bag.path}: {name}", size))
        except InputError as error:
            cameras.append(None)
            faults.append(error)
    times = zip(index.stamps[topic], index.received[topic], strict=True)
    in_force = [cameras[infos.at(*time)] for time in times]
    if not any(in_force):
        raise faults[0]
    return in_force


def most_frequent(cameras: Sequence[Camera | None]) -> Camera:
    """The camera of most images, of which one or more have one."""
    ((camera, _),) = Counter(camera for camera in cameras if camera is not None).most_common(1)
    return camera


def _image_size(bag: Bag, index: BagIndex, topic: str) -> tuple[int, int]:
    """Width and height of the first image or depth image of a topic."""
    _, _, message = next(index.read(bag, [topic]))
    return size_of(message, f"{bag.path}: {topic}")
