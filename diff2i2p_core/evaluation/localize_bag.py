"""Localizes the images of a bag, in the bag's order and optionally in its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol, TypeVar

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.replay_truth import Truth
from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.localization.tracker import Tracker
from diff2i2p_core.messages.bag_camera import BagCamera, BagImage
from diff2i2p_core.messages.bag_rig import BagImages


@dataclass(frozen=True)
class Replay:
    """The results of a replay."""

    results: Sequence[QueryResult]
    """Results of the processed images, numbered by their order in the bag."""
    dropped: int
    begin: float
    """Stamps of the bag's first and last image, in seconds."""
    end: float
    cameras: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """With several cameras: what each contributed, by its topic."""


def localize_bag(
    camera: BagCamera,
    tracker: Tracker,
    truth: Truth | None = None,
    *,
    odom: str | None = None,
    realtime: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Replay:
    """Localize all images or, with `realtime`, those that a node would have time for.

    `odom` is the odometry frame in TF. Latency is the time from an image's arrival to its pose: only the
    processing time, or with `realtime` also the wait before it. `progress` gets the number of images read.
    InputError if no image can be used.
    """
    work = _Work(camera, tracker, truth, odom)
    images = counted(camera.images(), progress)
    results = in_time(images, work.done) if realtime else [work.at_once(image) for image in images]
    if len(work.faults) == len(results):
        raise work.faults[0]
    stamps = camera.stamps
    return Replay(results, len(stamps) - len(results), stamps[0] / 1e9, stamps[-1] / 1e9)


def check_frames(camera: BagImages, odom: str | None, base: str | None) -> None:
    """InputError if TF does not connect the camera to the odometry or the robot's base at any image."""
    tree, frame = camera.index.tree, camera.frame
    for what, name in (("odometry's frame", odom), ("robot's frame", base)):
        if name is not None and all(tree.at(name, frame, stamp) is None for stamp in camera.stamps):
            raise InputError(
                f"{camera.path}: TF has no {name} -> {frame} at the time of any image; give another name "
                f"for the {what}, or none"
            )


@dataclass(frozen=True)
class _Work:
    camera: BagCamera
    tracker: Tracker
    truth: Truth | None
    odom: str | None
    faults: list[InputError] = field(default_factory=list)
    """Of the images that cannot be used."""

    def at_once(self, image: BagImage) -> QueryResult:
        return self.done(image)[0]

    def done(self, image: BagImage, late: float = 0.0) -> tuple[QueryResult, float]:
        """The result and the processing time in seconds, which begins `late` seconds after the arrival."""
        started = time.perf_counter()
        answer, reason = None, ""
        try:
            pixels, pinhole, depth = self.camera.decode(image)
        except InputError as error:
            self.faults.append(error)
            reason = f"unusable image ({error})"
        else:
            odom = None
            if self.odom is not None:
                odom = self.camera.index.tree.at(self.odom, self.camera.frame, image.stamp)
            if self.camera.depth_topic is not None and depth is None:
                reason = "no depth at its time"
            else:
                answer = self.tracker.localize(pixels, pinhole, image.stamp, odom_from_body=odom, depth=depth)
                reason = answer.reason
        seconds = time.perf_counter() - started
        accepted = answer is not None and answer.localized
        return (
            QueryResult(
                number=image.number,
                stamp=image.stamp / 1e9,
                true_map_from_camera=None if self.truth is None else self.truth.at(image.stamp),
                map_from_camera=answer.map_from_camera if answer is not None and accepted else None,
                reason=reason,
                num_inliers=None if answer is None else answer.num_inliers,
                inlier_ratio=None if answer is None else answer.inlier_ratio,
                latency_ms=1000 * (late + seconds),
                covariance=answer.covariance if answer is not None and accepted else None,
            ),
            seconds,
        )


class Received(Protocol):
    @property
    def received(self) -> int: ...


R = TypeVar("R", bound=Received)


def in_time(images: Iterable[R], done: Callable[[R, float], tuple[QueryResult, float]]) -> list[QueryResult]:
    """As with one worker in the bag's time, which takes the newest image when it is idle.

    `done` gets an image and by how many seconds it is late; it returns the result and the seconds it took.
    """
    results = []
    waiting: R | None = None
    free = 0  # nanoseconds in the bag's clock
    for image in chain(images, (None,)):
        if waiting is not None and (image is None or free <= image.received):
            begun = max(free, waiting.received)
            result, seconds = done(waiting, (begun - waiting.received) / 1e9)
            results.append(result)
            free = begun + round(seconds * 1e9)
        waiting = image
    return results


def counted(images: Iterator[R], progress: Callable[[int], None] | None) -> Iterator[R]:
    """The images, whose number is told to `progress`."""
    for count, image in enumerate(images, start=1):
        yield image
        if progress is not None:
            progress(count)
