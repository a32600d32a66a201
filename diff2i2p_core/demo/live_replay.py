"""Replays a bag through the ROS 2 node: plays it over DDS in its own time, and collects the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from diff2i2p_core.demo.live_results import names_of, results_of
from diff2i2p_core.demo.node_process import FRAME_TIMEOUT, PLAYED, module, node_command, play
from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.offline_replay import open_localizer
from diff2i2p_core.evaluation.replay_result import ReplayInput, ReplayResult
from diff2i2p_core.evaluation.replay_settings import ReplaySettings
from diff2i2p_core.messages.bag_camera import BagCamera
from diff2i2p_core.messages.bag_rig import BagImages
from diff2i2p_core.messages.kinds import COMPRESSED, IMAGE
from diff2i2p_core.messages.packets import PACKET
from diff2i2p_core.typing import Progress

TRANSPORTS = {IMAGE: "raw", COMPRESSED: "compressed", PACKET: "ffmpeg"}
"""Values of the node's parameter image_transport, by message type."""
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
    return ReplayResult.of(given, open_localizer(given), replay, said)


def _node(given: ReplayInput) -> list[str]:
    camera, settings, names = given.camera, given.settings, names_of(given.camera)
    several = len(names) > 1
    remappings: dict[str, str] = {}
    for name, each in zip(names, camera.cameras, strict=True):
        below = f"{name}/" if several else ""
        remappings |= {f"{below}{topic}": played for topic, played in _topics(each).items()}
    transports = {_transport(each) for each in camera.cameras}
    parameters: dict[str, Any] = {
        "use_sim_time": True,
        "matcher": settings.matcher,
        "device": settings.device,
        "image_transport": _common(transports, camera),
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


def _common(transports: set[str], camera: BagImages) -> str:
    if len(transports) > 1 and "ffmpeg" in transports:
        raise InputError(
            f"{camera.path}: some cameras have ffmpeg packets and some have images, which the node does not "
            "take together; replay without it"
        )
    return "any" if len(transports) > 1 else next(iter(transports))


def _transport(camera: BagCamera) -> str:
    """Of the camera's images. InputError if the node does not take such messages."""
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
    return transport


def _topics(camera: BagCamera) -> dict[str, str]:
    """The bag's topics by the node's names for them."""
    transport = _transport(camera)
    image = "image" if transport == "raw" else f"image/{transport}"
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
