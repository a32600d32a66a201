"""Results from the files that player and listener wrote about a bag."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from bag_writer import (
    BASE_FROM_CAMERA,
    STORE,
    Sent,
    camera_info,
    image,
    message,
    tf,
    transform,
    write_bag,
    write_ros1_bag,
)
from replay_room import CAMERA, MAP_INFO, messages, stamp, true_pose

from diff2i2p_core.demo.live_replay import replay_live
from diff2i2p_core.demo.live_results import names_of, results_of
from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.replay_result import ReplayInput
from diff2i2p_core.evaluation.replay_settings import ReplaySettings
from diff2i2p_core.evaluation.replay_truth import TruthSource, open_truth
from diff2i2p_core.geometry.covariance import covariance_at
from diff2i2p_core.geometry.se3 import invert, to_quaternion
from diff2i2p_core.messages.bag_camera import BagCamera
from diff2i2p_core.messages.bag_rig import BagRig
from diff2i2p_core.messages.packets import VIDEO, define_packets
from diff2i2p_core.typing import Array

LATER = 3_000_000
COVARIANCE = np.diag([1.0, 2.0, 3.0, 0.1, 0.2, 0.3]) * 1e-4


def row(kind: str, number: int, pose: Array, received: int, **values: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "stamp": stamp(number),
        "parent": "map",
        "translation": pose[:3, 3].tolist(),
        "quaternion": to_quaternion(pose).tolist(),
        "received": received,
        **values,
    }


def diagnostics(number: int, reason: str, message: str = "words", **values: str) -> dict[str, Any]:
    at = f"{stamp(number) // 10**9}.{stamp(number) % 10**9:09d}"
    content = {"last_stamp": at, "reason": reason, "inliers": "70", "inlier_ratio": "0.5", **values}
    return {"kind": "diagnostics", "level": 0, "message": message, "values": content, "received": 0}


@pytest.fixture
def camera(tmp_path: Path) -> BagCamera:
    return BagCamera(write_bag(tmp_path / "bag", messages()), pose_topic="/gt")


def test_poses_of_the_base_become_the_cameras_and_the_rest_has_a_reason(camera: BagCamera) -> None:
    settings = ReplaySettings(odom_frame="odom", base_frame="base_link")
    found = true_pose(2) @ invert(BASE_FROM_CAMERA)
    found[2, 3] += 0.03
    lever = found[:3, 3] - (found @ BASE_FROM_CAMERA)[:3, 3]
    of_base = covariance_at(COVARIANCE, lever)
    odom_from_camera = camera.index.tree.at("odom", "camera", stamp(2))
    assert odom_from_camera is not None
    map_from_odom = found @ BASE_FROM_CAMERA @ invert(odom_from_camera)
    held_over = map_from_odom.copy()
    held_over[0, 3] += 0.4  # an older transform, repeated just then
    heard = [
        {"kind": "ready"},
        row("tf", 2, held_over, 1, child="odom"),
        row("tf", 2, map_from_odom, 1, child="odom"),
        row("tf", 3, np.eye(4), 1, child="base_link"),
        row("pose", 2, found, 1_250_000_000, covariance=of_base.ravel().tolist()),
        diagnostics(2, "none"),
        diagnostics(4, "low coverage (inliers in 0.2 of the image, need 0.4)", inliers="65"),
        diagnostics(6, "none", "localized, but the transform cannot be published: no base_link"),
        diagnostics(6, "none", "no image for 2 s", images_received="12", images_dropped="9", tf_faults="1"),
    ]
    played = [{"stamp": stamp(number), "published": 1_000_000_000} for number in range(12)]
    replay, node = results_of(camera, settings, played, heard, open_truth(TruthSource(topic="/gt"), camera))
    assert [r.number for r in replay.results] == [2, 4, 6] and replay.dropped == 9
    good, refused, without_tf = replay.results
    assert good.translation_error_m == pytest.approx(0.03, abs=1e-6)
    assert (good.latency_ms, good.num_inliers, good.reason) == (250.0, 70, "")
    assert good.covariance is not None
    np.testing.assert_allclose(good.covariance, COVARIANCE, atol=1e-12)
    assert refused.map_from_camera is None and refused.reason.startswith("low coverage")
    assert refused.latency_ms is None and refused.num_inliers == 65
    assert without_tf.reason.startswith("localized, but the transform cannot be published")
    assert (node["images_received"], node["images_dropped"], node["tf_faults"]) == (12, 9, 1)
    assert node["transforms"] == 2 and node["transforms_apart_m"] == pytest.approx(0, abs=1e-9)


def test_images_of_several_cameras_are_one_result(tmp_path: Path) -> None:
    """The second camera's images are 3 ms later; of moment 4, the node has used that one alone."""
    front, left = "/camera/color/image_raw", "/left/image_raw"
    sent = messages()
    for number in range(12):
        later = stamp(number) + LATER
        link = transform(later, "base_link", "left", BASE_FROM_CAMERA)
        sent.append(Sent("/tf", later, tf(link)))
        sent.append(Sent("/left/camera_info", later, camera_info(later, "left", CAMERA)))
        sent.append(Sent(left, later, image(later, "left", np.zeros((48, 64, 3), np.uint8), "rgb8")))
    path = write_bag(tmp_path / "bag", sent)
    rig = BagRig([BagCamera(path, image=topic, pose_topic="/gt") for topic in (front, left)], 10 * LATER)
    names = names_of(rig)
    both = {"cameras": f"{names[0]}: 70 inliers, {names[1]}: 4 inliers", "contributing": names[0]}
    alone = row("pose", 4, true_pose(4), 3_000_000_000, covariance=COVARIANCE.ravel().tolist())
    said = diagnostics(4, "none", cameras=f"{names[1]}: 50 inliers", contributing=names[1])
    alone["stamp"] = stamp(4) + LATER
    said["values"]["last_stamp"] = f"{(stamp(4) + LATER) // 10**9}.{(stamp(4) + LATER) % 10**9:09d}"
    heard = [
        row("pose", 2, true_pose(2), 2_000_000_000, covariance=COVARIANCE.ravel().tolist()),
        diagnostics(2, "none", **both),
        diagnostics(3, "low coverage (x)", **both),
        alone,
        said,
    ]
    played = [{"stamp": stamp(n), "published": 1_000_000_000} for n in range(12)]
    played += [{"stamp": stamp(n) + LATER, "published": 1_500_000_000} for n in range(12)]
    truth, settings = open_truth(TruthSource(topic="/gt"), rig), ReplaySettings(base_frame="base_link")
    replay, _ = results_of(rig, settings, played, heard, truth)
    assert [r.number for r in replay.results] == [2, 3, 4] and replay.dropped == 9
    assert [r.map_from_camera is not None for r in replay.results] == [True, False, True]
    assert [r.latency_ms for r in replay.results] == [500.0, None, 1500.0]  # from the last image
    for topic, expected in ((front, (2, 1, 70.0)), (left, (3, 1, 27.0))):
        share = replay.cameras[topic]
        assert (share["images"], share["contributed"], share["median_inliers"]) == expected
        assert share["camera"] == asdict(CAMERA)
        np.testing.assert_allclose(share["body_from_camera"], BASE_FROM_CAMERA, atol=1e-9)


def test_without_answers_every_image_counts_as_dropped(camera: BagCamera) -> None:
    replay, node = results_of(camera, ReplaySettings(), [], [], None)
    assert (replay.results, replay.dropped) == ([], 12)
    assert node == {"transforms": 0, "transforms_apart_m": None}


def video_messages() -> list[Sent]:
    """With packets of a type that the node does not know."""
    sent = messages(2, jpegs=[b"\0\0\0\1"] * 2)
    return [replace(s, content=_video(s.content)) if s.topic.endswith("/compressed") else s for s in sent]


def _video(jpeg: Any) -> Any:
    head = jpeg.header
    return message(VIDEO, timestamp=head.stamp, frame_id=head.frame_id, data=jpeg.data, format="h264")


def test_bags_that_the_node_cannot_take_are_refused(tmp_path: Path) -> None:
    old = BagCamera(write_ros1_bag(tmp_path / "old.bag", messages(2)))
    define_packets(STORE)
    video = BagCamera(write_bag(tmp_path / "video", video_messages()))
    for camera, words in (
        (old, "is a ROS 1 bag, which cannot be played"),
        (video, "holds messages that the node does not take"),
    ):
        given = ReplayInput(ReplaySettings(live=True), camera, None, tmp_path / "x.map", MAP_INFO)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=words):
            replay_live(given, tmp_path)
