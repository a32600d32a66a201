"""Results of a live replay, from what the player sent and the listener heard."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from diff2i2p_core.demo.heard import MAP_FRAME, Answer, Row, answers, matrix_of
from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.localize_bag import Replay
from diff2i2p_core.evaluation.localize_rig_bag import CameraShare
from diff2i2p_core.evaluation.replay_settings import ReplaySettings
from diff2i2p_core.evaluation.replay_truth import Truth
from diff2i2p_core.geometry.covariance import covariance_at
from diff2i2p_core.geometry.rig import RigCamera
from diff2i2p_core.geometry.se3 import translation_error
from diff2i2p_core.messages.bag_camera import BagCamera
from diff2i2p_core.messages.bag_rig import BagImages
from diff2i2p_core.typing import Array

COUNTS = ("images_received", "images_dropped", "image_faults", "camera_info_faults", "tf_faults")
"""Keys of the node's diagnostics that are reported at the end."""


def names_of(camera: BagImages) -> list[str]:
    """What the node calls the cameras; "" if there is only one."""
    several = len(camera.cameras) > 1
    return [f"camera_{number}" if several else "" for number in range(1, 1 + len(camera.cameras))]


def results_of(
    camera: BagImages,
    settings: ReplaySettings,
    played: Sequence[Row],
    heard: Sequence[Row],
    truth: Truth | None,
) -> tuple[Replay, dict[str, Any]]:
    """Results from the rows of player and listener, and what the node said of itself. There is one result for
    the images of each moment that the node processed, with the pose of the (first) camera."""
    published: dict[int, int] = {}
    for row in played:
        published[row["stamp"]] = max(row["published"], published.get(row["stamp"], 0))
    answer_of = answers(heard, "pose")
    results, pose_of, given = [], {}, []
    for number, group in enumerate(camera.groups):
        sent = [published[stamp] for stamp in group.values() if stamp in published]
        stamp = next((group[key] for key in sorted(group) if group[key] in answer_of), None)
        if stamp is None or not sent:
            continue
        answer = answer_of[stamp]
        true = None if truth is None else truth.at(stamp)
        pose = _of_camera(answer.pose, _from_camera(camera, settings.base_frame, stamp))
        results.append(answer.result(number, stamp, _last_before(sent, answer), true, *pose))
        pose_of[stamp] = pose[0]
        given.append(answer)
    last: dict[str, str] = next(
        (row["values"] for row in reversed(heard) if row["kind"] == "diagnostics"), {}
    )
    node: dict[str, Any] = {name: int(last[name]) for name in COUNTS if name in last}
    node["transforms"], node["transforms_apart_m"] = _transforms(camera, settings, pose_of, heard)
    stamps = camera.stamps
    shares = _shares(camera, settings.base_frame, given)
    return Replay(results, len(stamps) - len(results), stamps[0] / 1e9, stamps[-1] / 1e9, shares), node


def _last_before(sent: Sequence[int], answer: Answer) -> int:
    """When the last of the images had been published that the answer can be about."""
    received = max(sent) if answer.pose is None else answer.pose["received"]
    return max((time for time in sent if time <= received), default=min(sent))


def _of_camera(pose: Row | None, base_from_camera: Array | None) -> tuple[Array | None, Array | None]:
    """map_from_camera and its covariance, from the received pose of the base."""
    if pose is None or base_from_camera is None:
        return None, None
    map_from_base = matrix_of(pose)
    map_from_camera = map_from_base @ base_from_camera
    lever = map_from_camera[:3, 3] - map_from_base[:3, 3]
    return map_from_camera, covariance_at(np.reshape(pose["covariance"], (6, 6)), lever)


def _shares(camera: BagImages, base: str | None, given: Iterable[Answer]) -> Mapping[str, Mapping[str, Any]]:
    """With several cameras: what each contributed, by its topic, from the node's diagnostics."""
    names = names_of(camera)
    if len(names) == 1:
        return {}
    body = base or camera.frame
    shares = {
        name: CameraShare(mounted=_mounted(each, body))
        for name, each in zip(names, camera.cameras, strict=True)
    }
    for answer in given:
        values = {} if answer.said is None else answer.said["values"]
        contributing = values.get("contributing", "").split(", ")
        for name, inliers in re.findall(r"(\w+): (\d+) inliers", values.get("cameras", "")):
            accepted = None if answer.pose is None else int(inliers)
            shares[name].count(accepted, contributed=name in contributing)
    return {each.topic: shares[name].as_dict() for each, name in zip(camera.cameras, names, strict=True)}


def _mounted(camera: BagCamera, body: str) -> RigCamera | None:
    """Where a camera is on the body, at its first image; None if TF or the calibration does not say it."""
    image = next(camera.images([0]))
    mounting = camera.index.tree.at(body, camera.frame, image.stamp)
    try:
        lens = camera.decode(image)[1]
    except InputError:
        return None
    return None if mounting is None else RigCamera(camera.topic, lens, mounting)


def _transforms(
    camera: BagImages,
    settings: ReplaySettings,
    pose_of: Mapping[int, Array | None],
    heard: Sequence[Row],
) -> tuple[int, float | None]:
    """The number of transforms on /tf, and the maximum distance of their camera from that of `pose`."""
    child = settings.odom_frame or settings.base_frame or camera.frame
    count = 0
    apart: dict[int, float] = {}
    for row in heard:
        if row["kind"] != "tf" or (row["parent"], row["child"]) != (MAP_FRAME, child):
            continue
        count += 1
        stamp = row["stamp"]
        pose, child_from_camera = pose_of.get(stamp), _from_camera(camera, child, stamp)
        if pose is not None and child_from_camera is not None:
            map_from_child = matrix_of(row)
            # A repeated transform can have the stamp of an image by chance.
            off = translation_error(map_from_child @ child_from_camera, pose)
            apart[stamp] = min(off, apart.get(stamp, off))
    return count, max(apart.values(), default=None)


def _from_camera(camera: BagImages, frame: str | None, stamp: int) -> Array | None:
    """(4, 4) frame_from_camera from the bag's TF."""
    if frame is None or frame == camera.frame:
        return np.eye(4)
    return camera.index.tree.at(frame, camera.frame, stamp)
