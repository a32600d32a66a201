"""Replays a bag in a map without ROS."""

from __future__ import annotations

from pathlib import Path

from diff2i2p_core.evaluation.localize_bag import check_frames, localize_bag
from diff2i2p_core.evaluation.localize_rig_bag import localize_rig_bag
from diff2i2p_core.evaluation.replay_result import ReplayInput, ReplayResult
from diff2i2p_core.evaluation.replay_settings import ReplaySettings
from diff2i2p_core.evaluation.replay_truth import open_truth
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.settings import TrackerSettings
from diff2i2p_core.localization.tracker import Tracker
from diff2i2p_core.mapping.map_file import load_info
from diff2i2p_core.messages.bag_camera import BagCamera
from diff2i2p_core.messages.bag_rig import BagImages, BagRig
from diff2i2p_core.typing import Progress


def open_replay(bag: Path | str, map_path: Path | str, settings: ReplaySettings) -> ReplayInput:
    """Read everything in a bag except its images.

    Raises:
        InputError: the bag or the map cannot be read, or the bag lacks a topic, a frame or the ground truth
        that
            the settings or the map's weights need.
    """
    info, _ = load_info(map_path)
    cameras = [
        BagCamera(
            Path(bag),
            image=topic,
            camera_info=settings.camera_info_topic,
            depth=settings.depth_topic,
            with_depth=info.mode == "rgbd" or settings.uses_depth,
            frame=settings.camera_frame,
            rectified=settings.rectified,
            pose_topic=settings.truth.topic,
        )
        for topic in settings.image_topics or (None,)
    ]
    camera: BagImages = cameras[0]
    if len(cameras) > 1:
        camera = BagRig(cameras, round(1e9 * settings.sync_tolerance))
        for each in cameras[1:]:
            check_frames(each, settings.odom_frame, settings.base_frame or cameras[0].frame)
    check_frames(camera, settings.odom_frame, settings.base_frame)
    return ReplayInput(
        settings, camera, open_truth(settings.truth, camera, info.origin), Path(map_path), info
    )


def open_localizer(given: ReplayInput) -> Localizer:
    """The localizer of a replay's map."""
    settings = given.settings
    return Localizer.open(given.map_path, settings.weights, matcher=settings.matcher, device=settings.device)


def replay_offline(given: ReplayInput, progress: Progress | None = None) -> ReplayResult:
    """Localize the images in order or, with `realtime`, those that a node would have time for."""
    settings = given.settings
    tell = progress or (lambda what, done, total: None)
    localizer = open_localizer(given)
    camera, tracker = given.camera, Tracker(localizer, TrackerSettings(use_prior=settings.track))

    def done(count: int) -> None:
        tell("localizing", count, len(camera.stamps))

    odom, realtime = settings.odom_frame, settings.realtime
    if isinstance(camera, BagRig):
        base = settings.base_frame
        replay = localize_rig_bag(
            camera, tracker, given.truth, base=base, odom=odom, realtime=realtime, progress=done
        )
    else:
        replay = localize_bag(camera, tracker, given.truth, odom=odom, realtime=realtime, progress=done)
    return ReplayResult.of(given, localizer, replay)
