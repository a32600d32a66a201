"""Bags of several cameras on one body: joint answers, single ones, extrinsics from TF, shares of cameras."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from bag_writer import BASE_FROM_CAMERA, Sent, camera_info, image, tf, transform, write_bag
from replay_room import CAMERA, MAP_INFO, KnowingLocalizer, each_alone, messages, stamp, true_pose

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation import offline_replay
from diff2i2p_core.evaluation.localize_rig_bag import localize_rig_bag
from diff2i2p_core.evaluation.offline_replay import open_replay, replay_offline
from diff2i2p_core.evaluation.replay_settings import ReplaySettings
from diff2i2p_core.evaluation.replay_truth import TruthSource, open_truth
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.tracker import Tracker
from diff2i2p_core.messages.bag_camera import BagCamera
from diff2i2p_core.messages.bag_rig import BagRig, grouped

FRONT, LEFT = "/camera/color/image_raw", "/left/image_raw"
MS = 1_000_000


def left_messages(later: int = 3 * MS, frame: str = "left", every: int = 1) -> list[Sent]:
    """Images of a second camera, `later` than those of the first. Image n is numbered n + 12, and taken where
    `true_pose` of that number is, because TF moves the camera there."""
    sent = []
    for number in range(0, 12, every):
        at = stamp(number) + later
        pixels = np.full((48, 64, 3), number + 12, np.uint8)
        sent.append(Sent("/left/camera_info", at, camera_info(at, frame, CAMERA)))
        sent.append(Sent(LEFT, at, image(at, frame, pixels, "rgb8")))
    for number in range(12):
        first_from_left = invert(true_pose(number)) @ true_pose(number + 12)
        link = transform(stamp(number) + later, "base_link", "left", BASE_FROM_CAMERA @ first_from_left)
        sent.append(Sent("/tf", stamp(number) + later, tf(link)))
    return sent


def bag(tmp_path: Path, **options: Any) -> Path:
    return write_bag(tmp_path / "bag", messages() + left_messages(**options))


def rig_of(path: Path, tolerance: int = 20 * MS) -> BagRig:
    return BagRig([BagCamera(path, image=topic) for topic in (FRONT, LEFT)], tolerance)


def test_stamps_are_grouped_within_the_tolerance() -> None:
    groups = grouped([[0, 100, 200], [3, 130, 199, 260]], 20)
    assert groups == [{0: 0, 1: 3}, {0: 100}, {1: 130}, {1: 199, 0: 200}, {1: 260}]
    assert grouped([[0, 5], [40]], 50) == [{0: 0}, {0: 5, 1: 40}]


def test_one_answer_for_the_images_of_a_moment(tmp_path: Path) -> None:
    rig = rig_of(bag(tmp_path))
    truth = open_truth(TruthSource(tf="odom:camera"), rig)
    assert truth is not None
    localizer = KnowingLocalizer(lost=(3, 17, 7, 19))
    done = localize_rig_bag(rig, each_alone(localizer), truth, base="base_link", odom="odom")
    assert [r.number for r in done.results] == [*range(12)]
    assert [(call.number) for call in localizer.asked][:4] == [0, 12, 1, 13]
    lost = [r.number for r in done.results if r.map_from_camera is None]
    assert lost == [7]  # 3 of the front and 17 (of moment 5) of the left alone do no harm
    for result in done.results:
        if result.map_from_camera is not None:  # of the first camera
            error = result.map_from_camera[:3, 3] - true_pose(result.number)[:3, 3]
            np.testing.assert_allclose(error, [0, 0, 0.02], atol=0.01)
    shares = done.cameras
    counts = {"images": 12, "contributed": 10, "median_inliers": 80.0}
    assert counts.items() <= shares[FRONT].items()
    mounting = rig.index.tree.at("base_link", "camera", rig.stamps[0])
    assert mounting is not None
    np.testing.assert_allclose(shares[FRONT]["body_from_camera"], mounting)
    assert Camera(**shares[LEFT]["camera"]) == CAMERA
    assert shares[LEFT]["images"] == 12 and shares[LEFT]["contributed"] == 10


def test_images_at_other_times_are_queries_of_the_same_body(tmp_path: Path) -> None:
    rig = rig_of(bag(tmp_path, later=30 * MS, every=2))
    localizer = KnowingLocalizer()
    done = localize_rig_bag(rig, Tracker(localizer), base="base_link", odom="odom")
    assert len(done.results) == 18 and all(r.map_from_camera is not None for r in done.results)
    by_left = localizer.asked[1]
    assert by_left.number == 12 and by_left.prior is not None  # from the pose that the front camera gave
    assert np.linalg.norm(by_left.prior[:3, 3] - true_pose(12)[:3, 3]) < 0.1


def test_a_camera_without_a_transform_is_left_out(tmp_path: Path) -> None:
    sent = messages() + [m for m in left_messages() if m.topic != "/tf" or m.stamp < stamp(5)]
    rig = rig_of(write_bag(tmp_path / "bag", sent))
    done = localize_rig_bag(rig, each_alone(KnowingLocalizer()), base="base_link")
    assert all(r.map_from_camera is not None for r in done.results)
    assert done.cameras[LEFT]["images"] == 12 and done.cameras[LEFT]["contributed"] < 12


def test_in_the_bags_time_whole_moments_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.arange(0, 1000, 0.15))
    module = "diff2i2p_core.evaluation.localize_rig_bag"
    monkeypatch.setattr(f"{module}.time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    done = localize_rig_bag(
        rig_of(bag(tmp_path)), each_alone(KnowingLocalizer()), base="base_link", realtime=True
    )
    assert 0 < done.dropped < 11 and len(done.results) == 12 - done.dropped


def test_a_replay_of_two_topics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bag(tmp_path)
    monkeypatch.setattr(offline_replay, "load_info", lambda path: (MAP_INFO, None))
    monkeypatch.setattr(Localizer, "open", lambda *a, **k: KnowingLocalizer(lost=(4,)))
    settings = ReplaySettings(
        image_topic=(FRONT, LEFT),
        base_frame="base_link",
        odom_frame="odom",
        truth=TruthSource(topic="/gt"),
    )
    result = replay_offline(open_replay(path, "any.map", settings))
    assert result.summary.localized == 12 and result.summary.false_localizations == 0
    said = result.as_dict()
    assert said["cameras"][LEFT]["contributed"] == 12 and said["cameras"][FRONT]["contributed"] == 11
    assert said["about"]["joint answers"] == "12 of 12, of images at most 0.02 s apart"
    assert f"24 images of {FRONT} + {LEFT}" in said["about"]["bag"]


def test_wrong_settings_and_bags_are_named(tmp_path: Path) -> None:
    for options, words in (
        ({"image_topic": (FRONT, FRONT)}, "the same topic twice"),
        ({"image_topic": (FRONT, LEFT), "camera_frame": "camera"}, "`camera`: is for a single camera"),
        ({"sync_tolerance": -1.0}, "`sync_tolerance` -1"),
    ):
        with pytest.raises(InputError, match=words):
            ReplaySettings(**options)
    with pytest.raises(InputError, match="two of them have the same frame_id, of camera, camera"):
        rig_of(bag(tmp_path, frame="camera"))
