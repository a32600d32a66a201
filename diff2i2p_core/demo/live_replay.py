"""Replays a bag through the ROS 2 node: plays it over DDS in its own time, and collects the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from diff2i2p_core.demo.live_results import names_of, results_of
from diff2i2p_core.demo.node_process import FRAME_TIMEOUT, PLAYED, module, node_command, play
from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.replay_result import ReplayInput, ReplayResult
from diff2i2p_core.evaluation.replay_settings import ReplaySettings
from diff2i2p_core.mapping.map_file import load_map
from diff2i2p_core.messages.bag_camera import BagCamera
from diff2i2p_core.messages.bag_rig import BagImages
from diff2i2p_core.typing import Progress

AFTER_LAST = 1.0
"""Seconds of the bag to play after the last image, for odometry that arrives later."""


def replay_live(given: ReplayInput, log_folder: Path, progress: Progress | None = None) -> ReplayResult:
    """Play the bag to a node. Returns the poses received over DDS, and what else the node reported.

    Latency is from publishing an image (of several cameras: the last one of the moment) to receiving its
    pose, in wall time.

    Raises:
        InputError: a process failed (with its last output), or the node does not take such messages.
    """
    camera, settings = given.camera, given.settings
    count = sum(len(each.stamps) for each in camera.cameras)
    tell = progress or (lambda what, done, total: None)
    longest = max(camera.lead, *np.diff([camera.stamps[0], *camera.stamps]).tolist()) / 1e9
    patience = FRAME_TIMEOUT + (longest + AFTER_LAST) / settings.rate
    node, player = _node(given), _player(camera, settings, log_folder / PLAYED)
    shown = lambda done: tell("localizing", done, count)  # noqa: E731
    rows = play(node, player, log_folder, count, shown, patience)
    replay, said = results_of(camera, settings, *rows, given.truth)
    return ReplayResult.of(given, load_map(given.map_path), replay, said)


def _node(given: ReplayInput) -> list[str]:
    camera, settings, names = given.camera, given.settings, names_of(given.camera)
    several = len(names) > 1
    remappings: dict[str, str] = {}
    for name, each in zip(names, camera.cameras, strict=True):
        _check_playable(each)
        below = f"{name}/" if several else ""
        remappings |= {f"{below}{topic}": played for topic, played in _topics(each).items()}
    packed = {each.topic in each.compressed for each in camera.cameras}
    parameters: dict[str, Any] = {
        "use_sim_time": True,
        "matcher": settings.matcher,
        "device": settings.device,
        "image_transport": "any" if len(packed) > 1 else "compressed" if packed == {True} else "raw",
        "odom_frame": settings.odom_frame or "",
        "base_frame": settings.base_frame or (camera.frame if several else ""),
        "image_is_rectified": camera.rectified,
        "use_prior": settings.track,
        "use_depth": any(each.depth_topic is not None for each in camera.cameras),
        "transform_tolerance": 0.0,  # the transform of an image is found by its stamp
        **(
            {"cameras": names, "sync_tolerance": float(settings.sync_tolerance)}
            if several
            else {"camera_frame": camera.frame}
        ),
    }
    return node_command(given.map_path, settings.weights, parameters, remappings)


def _check_playable(camera: BagCamera) -> None:
    """InputError if the node does not take such messages."""
    if camera.topic in camera.index.videos:
        raise InputError(
            f"{camera.path}: {camera.topic} is a video, which the node does not take; replay without the node"
        )
    if camera.is_ros1:
        raise InputError(
            f"{camera.path}: is a ROS 1 bag, which cannot be played to the node; replay it without the node, "
            "or convert it with rosbags-convert"
        )
    if camera.depth_topic in camera.compressed:
        raise InputError(
            f"{camera.path}: {camera.depth_topic} is compressed, but the node takes raw depth; replay "
            "without the node, or name a raw depth topic"
        )


def _topics(camera: BagCamera) -> dict[str, str]:
    """The bag's topics by the node's names for them."""
    image = "image/compressed" if camera.topic in camera.compressed else "image"
    depth = {} if camera.depth_topic is None else {"depth": camera.depth_topic}
    return {image: camera.topic, "camera_info": camera.info_topic, **depth}


def _player(camera: BagImages, settings: ReplaySettings, log: Path) -> list[str]:
    topics = []
    for each in camera.cameras:
        topics += ["--image", each.topic, "--info", each.info_topic]
        topics += ["--depth", each.depth_topic] if each.depth_topic else []
    values = {
        "--rate": settings.rate,
        "--after-last": AFTER_LAST,
        "--last-stamp": min(camera.groups[-1].values()),
        "--leave-out": settings.odom_frame or settings.base_frame or camera.frame,
    }
    options = [word for name, value in values.items() for word in (name, str(value))]
    return module("bag_player", str(camera.path), str(log), *topics, *options)
