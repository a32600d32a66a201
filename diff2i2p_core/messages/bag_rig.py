"""Several cameras in a bag, on one body: images of about the same time belong together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.messages.bag_camera import BagCamera, BagImage
from diff2i2p_core.messages.bag_index import BagIndex


@dataclass(frozen=True)
class RigImages:
    """Images of different cameras, taken at about the same time."""

    number: int
    stamp: int
    """Nanoseconds; of the image of the first of these cameras."""
    received: int
    """Nanoseconds at which the last of them had been recorded."""
    images: dict[int, BagImage]
    """By the number of the camera in the rig."""


class BagRig:
    """The cameras of a body in a bag. Its own frame and pictures are those of the first camera."""

    def __init__(self, cameras: Sequence[BagCamera], tolerance: int) -> None:
        """`tolerance` is the maximum number of nanoseconds between images that belong together."""
        self.cameras = tuple(cameras)
        first = cameras[0]
        self.path, self.frame, self.rectified, self.lead = (
            first.path,
            first.frame,
            first.rectified,
            first.lead,
        )
        self.topic = " + ".join(camera.topic for camera in cameras)
        self.index: BagIndex = first.index
        self.notes = list(dict.fromkeys(note for camera in cameras for note in camera.notes))
        self.groups = grouped([camera.stamps for camera in cameras], tolerance)
        """The images of each moment: the stamp by the number of the camera."""
        frames = [camera.frame for camera in cameras]
        if len(set(frames)) < len(frames):
            raise InputError(
                f"{self.path}: {self.topic}: two of them have the same frame_id, of {', '.join(frames)}; the "
                "cameras of a body need different frames"
            )

    @property
    def stamps(self) -> list[int]:
        """Of each moment, ascending."""
        return [group[min(group)] for group in self.groups]

    @property
    def num_images(self) -> int:
        return sum(len(camera.stamps) for camera in self.cameras)

    def moments(self) -> Iterator[RigImages]:
        """The images of each moment, in order."""
        streams = [camera.images() for camera in self.cameras]
        for number, (stamp, group) in enumerate(zip(self.stamps, self.groups, strict=True)):
            images = {camera: next(streams[camera]) for camera in group}
            received = max(image.received for image in images.values())
            yield RigImages(number, stamp, received, images)

    def images(self, numbers: Iterable[int]) -> Iterator[BagImage]:
        """The first camera's images of the moments with these numbers, if it has any then."""
        first = self.cameras[0]
        moment_of = {self.groups[moment][0]: moment for moment in numbers if 0 in self.groups[moment]}
        wanted = [number for number, stamp in enumerate(first.stamps) if stamp in moment_of]
        for image in first.images(wanted):
            yield BagImage(moment_of[image.stamp], *list(vars(image).values())[1:])

    def decode(self, image: BagImage) -> tuple[NDArray[np.uint8], Camera, NDArray[np.float32] | None]:
        """As the first camera."""
        return self.cameras[0].decode(image)


BagImages = BagCamera | BagRig
"""What a replay localizes."""


def grouped(stamps: Sequence[Sequence[int]], tolerance: int) -> list[dict[int, int]]:
    """Stamps of several cameras, each ascending, in groups of at most one of each camera, in order of time.

    A group begins with its earliest stamp; the others are at most `tolerance` later.
    """
    groups: list[dict[int, int]] = []
    begin = 0
    for stamp, camera in sorted((stamp, camera) for camera, row in enumerate(stamps) for stamp in row):
        if groups and camera not in groups[-1] and stamp - begin <= tolerance:
            groups[-1][camera] = stamp
        else:
            groups.append({camera: stamp})
            begin = stamp
    return groups
