"""Replays a bag through the ROS 2 node: plays it over DDS in its own time, and collects the results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diff2i2p_core.demo.heard import MAP_FRAME, Row, answers, matrix_of
from diff2i2p_core.demo.node_process import FRAME_TIMEOUT, PLAYED, module, node_command, play
from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.localize_bag import Replay
from diff2i2p_core.evaluation.replay_result import ReplayInput, ReplayResult
from diff2i2p_core.evaluation.replay_settings import ReplaySettings
from diff2i2p_core.evaluation.replay_truth import Truth
from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.geometry.covariance import covariance_at
from diff2i2p_core.geometry.se3 import translation_error
from diff2i2p_core.mapping.map_file import load_map
from diff2i2p_core.messages.bag_camera import BagCamera
from diff2i2p_core.messages.kinds import COMPRESSED, IMAGE
from diff2i2p_core.messages.packets import PACKET
from diff2i2p_core.typing import Array, Progress

TRANSPORTS = {IMAGE: "raw", COMPRESSED: "compressed", PACKET: "ffmpeg"}
"""Values of the node's parameter image_transport, by message type."""
AFTER_LAST = 1.0
"""Seconds of the bag to play after the last image, for odometry that arrives later."""
COUNTS = ("images_received", "images_dropped", "image_faults", "camera_info_faults", "tf_faults")
"""Keys of the node's diagnostics that are reported at the end."""


def replay_live(given: ReplayInput, log_folder: Path, progress: Progress | None = None) -> ReplayResult:
    """Play the bag to a node. Returns the poses received over DDS, and what else the node reported.

    Latency is from publishing an image to receiving its pose, in wall time.

    Raises:
        InputError: a process failed (with its last output), or the node does not take such messages.
    """
    camera, settings, count = _camera(given), given.settings, len(given.camera.stamps)
    tell = progress or (lambda what, done, total: None)
    longest = max(camera.lead, *np.diff([camera.stamps[0], *camera.stamps]).tolist()) / 1e9
    patience = FRAME_TIMEOUT + (longest + AFTER_LAST) / settings.rate
    node, player = _node(given), _player(camera, settings, log_folder / PLAYED)
    shown = lambda done: tell("localizing", done, count)  # noqa: E731
    rows = play(node, player, log_folder, count, shown, patience)
    replay, said = results_of(camera, settings, *rows, given.truth)
    return ReplayResult.of(given, load_map(given.map_path), replay, said)


def _camera(given: ReplayInput) -> BagCamera:
    assert isinstance(given.camera, BagCamera)  # the settings refuse several
    return given.camera


def _node(given: ReplayInput) -> list[str]:
    camera, settings = _camera(given), given.settings
    transport = TRANSPORTS.get(camera.kinds[camera.topic])
    if transport is None:
        raise InputError(
            f"{camera.path}: {camera.topic} holds messages that the node does not take; replay without it"
        )
    if camera.is_ros1:
        raise InputError(
            f"{camera.path}: is a ROS 1 bag, which cannot be played to the node; replay it without the node, "
            "or convert it with rosbags-convert"
        )
    if camera.depth_topic is not None and camera.kinds[camera.depth_topic] != IMAGE:
        raise InputError(
            f"{camera.path}: {camera.depth_topic} is compressed, but the node takes raw depth; replay "
            "without the node, or name a raw depth topic"
        )
    parameters: dict[str, Any] = {
        "use_sim_time": True,
        "matcher": settings.matcher,
        "device": settings.device,
        "image_transport": transport,
        "odom_frame": settings.odom_frame or "",
        "base_frame": settings.base_frame or "",
        "camera_frame": camera.frame,
        "image_is_rectified": camera.rectified,
        "use_prior": settings.track,
        "use_depth": camera.depth_topic is not None,
        "transform_tolerance": 0.0,  # the transform of an image is found by its stamp
    }
    remappings = {
        "image" if transport == "raw" else f"image/{transport}": camera.topic,
        "camera_info": camera.info_topic,
    }
    if camera.depth_topic is not None:
        remappings["depth"] = camera.depth_topic
    return node_command(given.map_path, settings.weights, parameters, remappings)


def _player(camera: BagCamera, settings: ReplaySettings, log: Path) -> list[str]:
    depth = ["--depth", camera.depth_topic] if camera.depth_topic else []
    return module(
        "bag_player",
        str(camera.path),
        str(log),
        *("--image", camera.topic, "--info", camera.info_topic, *depth),
        *(
            "--rate",
            str(settings.rate),
            "--after-last",
            str(AFTER_LAST),
            "--leave-out",
            settings.odom_frame or settings.base_frame or camera.frame,
        ),
    )


def results_of(
    camera: BagCamera,
    settings: ReplaySettings,
    played: Sequence[Row],
    heard: Sequence[Row],
    truth: Truth | None,
) -> tuple[Replay, dict[str, Any]]:
    """Results from the rows of player and listener: one for each image that the node processed."""
    published = {row["stamp"]: row["published"] for row in played}
    answer_of = answers(heard, "pose")
    results = []
    for number, stamp in enumerate(camera.stamps):
        if stamp in published and stamp in answer_of:
            true = None if truth is None else truth.at(stamp)
            answer = answer_of[stamp]
            pose = _of_camera(answer.pose, _from_camera(camera, settings.base_frame, stamp))
            results.append(answer.result(number, stamp, published[stamp], true, *pose))
    last: dict[str, str] = next(
        (row["values"] for row in reversed(heard) if row["kind"] == "diagnostics"), {}
    )
    node: dict[str, Any] = {name: int(last[name]) for name in COUNTS if name in last}
    node["transforms"], node["transforms_apart_m"] = _transforms(camera, settings, results, heard)
    stamps = camera.stamps
    replay = Replay(results, len(stamps) - len(results), stamps[0] / 1e9, stamps[-1] / 1e9)
    return replay, node


def _of_camera(pose: Row | None, base_from_camera: Array | None) -> tuple[Array | None, Array | None]:
    """map_from_camera and its covariance, from the received pose of the base."""
    if pose is None or base_from_camera is None:
        return None, None
    map_from_base = matrix_of(pose)
    map_from_camera = map_from_base @ base_from_camera
    lever = map_from_camera[:3, 3] - map_from_base[:3, 3]
    return map_from_camera, covariance_at(np.reshape(pose["covariance"], (6, 6)), lever)


def _transforms(
    camera: BagCamera,
    settings: ReplaySettings,
    results: Sequence[QueryResult],
    heard: Sequence[Row],
) -> tuple[int, float | None]:
    """The number of transforms on /tf, and the maximum distance of their camera from that of `pose`."""
    child = settings.odom_frame or settings.base_frame or camera.frame
    pose_of = {camera.stamps[r.number]: r.map_from_camera for r in results}
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


def _from_camera(camera: BagCamera, frame: str | None, stamp: int) -> Array | None:
    """(4, 4) frame_from_camera from the bag's TF."""
    if frame is None or frame == camera.frame:
        return np.eye(4)
    return camera.index.tree.at(frame, camera.frame, stamp)
