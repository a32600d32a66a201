"""The camera in a bag: its images in order, as the localizer takes them, and its pose from TF."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import rectify_depth
from diff2i2p_core.messages.bag_index import BagIndex, nearest
from diff2i2p_core.messages.bag_reader import Bag, depth_images, image_topic, pick
from diff2i2p_core.messages.calibrations import Calibrations
from diff2i2p_core.messages.cameras import camera_of, has_size
from diff2i2p_core.messages.images import depth_of, image_of
from diff2i2p_core.messages.kinds import IMAGES, POSES, stamp_of

DEPTH_APART = 20_000_000
"""Maximum nanoseconds between an image and its depth; the same as the node's default."""


@dataclass(frozen=True)
class BagImage:
    """One image message, with its depth message if depth is used."""

    number: int
    stamp: int
    """Nanoseconds, from the header."""
    received: int
    """Nanoseconds at which the image and its depth had been recorded."""
    message: Any
    camera_info: Any
    """The message in force at the image."""
    depth: Any | None = None


class BagCamera:
    """One camera in a bag. The constructor reads the bag once, for everything except the images."""

    def __init__(
        self,
        path: Path,
        *,
        image: str | None = None,
        camera_info: str | None = None,
        depth: str | None = None,
        with_depth: bool = False,
        frame: str | None = None,
        rectified: bool = False,
        pose_topic: str | None = None,
    ) -> None:
        """A topic can be None if it is the only one of its kind. `depth` must be registered to the image.

        `frame` is the camera's optical frame, by default the image's frame_id. `rectified`: the images are
        already rectified.
        """
        self.path, self.rectified = path, rectified
        with Bag(path) as bag:
            if pose_topic is not None:
                pick(bag, "pose", pose_topic, set(bag.topics(POSES)))
            self.topic = image_topic(bag, image)
            self.depth_topic: str | None = None
            if with_depth:
                candidates = set(bag.topics(IMAGES)) if depth else depth_images(bag)
                self.depth_topic = pick(bag, "depth image", depth, candidates)
            topics = [self.topic, *([self.depth_topic] if self.depth_topic else [])]
            self.kinds = bag.topics(IMAGES)
            """The message types of all image topics."""
            self.index = BagIndex.of(bag, topics, pose_topic)
            self.is_ros1 = bag.is_ros1
            self.lead = self.index.received[self.topic][0] - bag.begin
            """Nanoseconds from the bag's first message to the first image."""
            self.info_topic = self.index.info_topic(bag, self.topic, camera_info)
            self.notes = [*self.index.notes, *self._doubts()]
            """Lines about what is left out of the bag, and about doubtful calibrations."""
        self.frame = (frame or self.index.frames[self.topic]).lstrip("/")
        if not self.frame:
            raise InputError(f"{path}: {self.topic}: its header has no frame_id; name the camera's frame")

    @property
    def stamps(self) -> list[int]:
        """The stamps of the images, ascending."""
        return self.index.stamps[self.topic]

    @property
    def cameras(self) -> tuple[BagCamera, ...]:
        """This one; as for several cameras on one body."""
        return (self,)

    @property
    def groups(self) -> list[dict[int, int]]:
        """The stamps of each moment by the number of the camera."""
        return [{0: stamp} for stamp in self.stamps]

    def images(self, numbers: Iterable[int] | None = None) -> Iterator[BagImage]:
        """The images (by default all) in order. An image with depth waits until its depth is read."""
        wanted = None if numbers is None else set(numbers)
        partners = self._partners()
        waiting: deque[BagImage] = deque()
        depths: dict[int, tuple[int, Any]] = {}
        number_of = {stamp: number for number, stamp in enumerate(self.stamps)}
        with Bag(self.path) as bag:
            topics = [self.topic, *filter(None, [self.depth_topic])]
            for topic, received, message in self.index.read(bag, topics):
                stamp = stamp_of(message)
                if topic == self.depth_topic:
                    depths[stamp] = received, message
                elif wanted is None or number_of[stamp] in wanted:
                    info = self._infos.distinct[self._infos.at(stamp, received)]
                    waiting.append(BagImage(number_of[stamp], stamp, received, message, info))
                while waiting and ((partner := partners.get(waiting[0].stamp)) is None or partner in depths):
                    image = waiting.popleft()
                    if partner is None:
                        yield image
                        continue
                    came, depth = depths[partner]
                    for older in [stamp for stamp in depths if stamp < partner]:
                        del depths[older]
                    yield replace(image, received=max(image.received, came), depth=depth)

    def decode(self, image: BagImage) -> tuple[NDArray[np.uint8], Camera, NDArray[np.float32] | None]:
        """Image (H, W, 3) RGB and depth (H, W) in metres without lens distortion, and their camera."""
        where = f"{self.path}: image {image.number}"
        pixels = image_of(image.message, where)
        camera = self._camera(image.camera_info, (pixels.shape[1], pixels.shape[0]))
        camera.check_size(pixels.shape, f"{where}, with {self.info_topic}")
        depth = None
        if image.depth is not None:
            where = f"{self.path}: depth of image {image.number}"
            metres = depth_of(image.depth, where)
            camera.check_size(metres.shape, f"{where}, with {self.info_topic}")
            depth = rectify_depth(metres, camera)
        return np.asarray(camera.rectify(pixels), np.uint8), camera.undistorted(), depth

    @property
    def _infos(self) -> Calibrations:
        return self.index.infos[self.info_topic]

    def _camera(self, info: Any, image: tuple[int, int] | None = None) -> Camera:
        return camera_of(info, f"{self.path}: {self.info_topic}", image, rectified=self.rectified)

    def _doubts(self) -> list[str]:
        """Lines about the calibrations of the images. InputError if none of them can be used."""
        received = self.index.received[self.topic]
        used = {self._infos.at(*times) for times in zip(self.stamps, received, strict=True)}
        doubts, faults = [], []
        for info in (self._infos.distinct[number] for number in sorted(used)):
            if not has_size(info):  # known when an image is decoded
                continue
            try:
                doubts += self._camera(info).doubts
            except InputError as error:
                faults.append(error)
        if len(faults) == len(used):
            raise faults[0]
        return [f"{self.path}: {self.info_topic}: {doubt}" for doubt in dict.fromkeys(doubts)]

    def _partners(self) -> dict[int, int]:
        """The stamp of the depth for each image stamp; images without depth are missing."""
        if self.depth_topic is None:
            return {}
        depths = np.array(self.index.stamps[self.depth_topic])
        pairs = ((stamp, nearest(depths, stamp)) for stamp in self.stamps)
        return {stamp: depth for stamp, depth in pairs if abs(depth - stamp) <= DEPTH_APART}
