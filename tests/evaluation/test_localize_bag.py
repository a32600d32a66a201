"""Bags through a localizer whose answers are known: order, time, truth, depth, odometry."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from bag_writer import BASE_FROM_CAMERA, Sent, image, tf, transform, write_bag
from replay_room import CAMERA, STEP, KnowingLocalizer, each_alone, frames, messages, stamp, true_pose

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation import localize_bag as module
from diff2i2p_core.evaluation.localize_bag import check_frames, localize_bag
from diff2i2p_core.evaluation.replay_truth import TruthSource, open_truth
from diff2i2p_core.geometry.se3 import compose, invert
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.localization.tracker import Tracker
from diff2i2p_core.messages.bag_camera import BagCamera
from diff2i2p_core.typing import Array


def bag_camera(tmp_path: Path, sent: list[Sent] | None = None, **options: Any) -> BagCamera:
    path = tmp_path / "bag"
    if not path.exists():
        write_bag(path, messages() if sent is None else sent)
    return BagCamera(path, **options)


def tum(path: Path, pose_of: Any = true_pose, count: int = 12, shift: float = 0.0) -> Path:
    stamps = [stamp(number) / 1e9 + shift for number in range(count)]
    write_trajectory(path, stamps, [pose_of(number) for number in range(count)])
    return path


@pytest.mark.parametrize("mcap", [True, False])
def test_every_image_with_its_truth_in_order(tmp_path: Path, mcap: bool) -> None:
    write_bag(tmp_path / "bag", messages(), mcap=mcap)
    camera = bag_camera(tmp_path)
    truth = open_truth(TruthSource(file=tum(tmp_path / "gt.tum")), camera)
    localizer = KnowingLocalizer(lost=(3,), wrong=(5,))
    done = localize_bag(camera, each_alone(localizer), truth)
    assert [r.number for r in done.results] == [*range(12)] == [call.number for call in localizer.asked]
    assert (done.dropped, done.begin, done.end) == (0, stamp(0) / 1e9, stamp(11) / 1e9)
    errors = [r.translation_error_m for r in done.results]
    assert errors[3] is None and done.results[3].reason == "too few inliers (3, need 60)"
    assert errors[5] == pytest.approx(2.0, abs=1e-6) and done.results[5].is_false
    assert errors[4] == pytest.approx(0.02, abs=1e-6)


def test_truth_of_a_topic_of_tf_and_of_the_base(tmp_path: Path) -> None:
    def base_pose(number: int) -> Array:
        return true_pose(number) @ invert(BASE_FROM_CAMERA)

    sent = messages()
    sent += [
        Sent("/tf", stamp(n), tf(transform(stamp(n), "mocap", "helmet", base_pose(n)))) for n in range(12)
    ]
    sent.append(Sent("/tf_static", stamp(0), tf(transform(0, "helmet", "visor", BASE_FROM_CAMERA))))
    sent += [Sent("/rig", stamp(n), transform(stamp(n), "map", "base_link", base_pose(n))) for n in range(12)]
    camera = bag_camera(tmp_path, sent, pose_topic="/gt")
    sources = [
        TruthSource(topic="/gt"),
        TruthSource(file=tum(tmp_path / "base.tum", base_pose), frame="base_link"),
        TruthSource(tf="mocap:visor"),
    ]
    for source in sources[:2]:
        truth = open_truth(source, camera)
        assert truth is not None
        found = truth.at(stamp(7))
        assert found is not None
        np.testing.assert_allclose(found, true_pose(7), atol=1e-6)
        half_way = truth.at(stamp(7) + STEP // 2)
        assert half_way is not None and half_way[0, 3] == pytest.approx(0.75, abs=1e-3)
        assert truth.at(stamp(11) + STEP) is None
    rig = open_truth(TruthSource(topic="/rig"), bag_camera(tmp_path, pose_topic="/rig"))
    assert rig is not None and rig.name == "/rig (poses of base_link)"
    of_rig = rig.at(stamp(7))
    assert of_rig is not None
    np.testing.assert_allclose(of_rig, true_pose(7), atol=1e-6)
    with pytest.raises(InputError, match="no transform connects visor and camera"):
        open_truth(sources[2], camera)
    helmet = bag_camera(tmp_path, frame="visor")
    truth = open_truth(TruthSource(tf="mocap:visor"), helmet)
    assert truth is not None
    found = truth.at(stamp(2))
    assert found is not None
    np.testing.assert_allclose(found, true_pose(2), atol=1e-6)


def test_truth_in_the_coordinates_of_a_georeferenced_cloud(tmp_path: Path) -> None:
    camera, origin = bag_camera(tmp_path), (431_200.0, 5_412_300.0, 500.0)

    def utm(number: int) -> Array:
        pose = true_pose(number)
        return compose(pose[:3, :3], pose[:3, 3] + origin)

    for pose_of in (utm, true_pose):
        truth = open_truth(TruthSource(file=tum(tmp_path / "gt.tum", pose_of)), camera, origin)
        found = None if truth is None else truth.at(stamp(5))
        assert found is not None
        np.testing.assert_allclose(found, true_pose(5), atol=1e-6)


def test_a_truth_of_part_of_the_time_and_of_none(tmp_path: Path) -> None:
    camera = bag_camera(tmp_path)
    truth = open_truth(TruthSource(file=tum(tmp_path / "part.tum", count=4)), camera)
    done = localize_bag(camera, each_alone(KnowingLocalizer()), truth)
    assert [r.number for r in done.results if r.true_map_from_camera is not None] == [0, 1, 2, 3]
    late = TruthSource(file=tum(tmp_path / "late.tum", shift=100.0))
    with pytest.raises(InputError, match=r"late.tum .* has no pose at the time of any image"):
        open_truth(late, camera)
    with pytest.raises(InputError, match="only one of them"):
        TruthSource(topic="/gt", tf="map:camera")
    with pytest.raises(InputError, match="expected PARENT:CHILD"):
        TruthSource(tf="map")


def test_in_real_time_the_newest_image_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images come every 66 ms, work on one takes 150: at 0, 150 (image 2 of 132 ms), 300, 450, ..."""
    clock = itertools.count(step=0.15)  # asked before and after the work
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    done = localize_bag(bag_camera(tmp_path), each_alone(KnowingLocalizer()), realtime=True)
    assert [r.number for r in done.results] == [0, 2, 4, 6, 9, 11] and done.dropped == 6
    latencies = [r.latency_ms for r in done.results]
    assert latencies == pytest.approx([150, 168, 186, 204, 156, 174])


def test_a_fast_localizer_drops_nothing_in_real_time(tmp_path: Path) -> None:
    done = localize_bag(bag_camera(tmp_path), each_alone(KnowingLocalizer()), realtime=True)
    assert [r.number for r in done.results] == [*range(12)] and done.dropped == 0


class Noting(Tracker):
    """Notes the odometry that each image comes with."""

    def __init__(self) -> None:
        super().__init__(KnowingLocalizer())
        self.odometry: list[Array | None] = []
        self.stamps: list[int] = []

    def localize(self, image: Any, camera: Any, stamp_ns: int, **options: Any) -> Any:
        self.odometry.append(options["odom_from_body"])
        self.stamps.append(stamp_ns)
        return self.localizer.localize(image, camera)


def test_odometry_of_tf_goes_with_each_image(tmp_path: Path) -> None:
    noting = Noting()
    camera = bag_camera(tmp_path)
    check_frames(camera, "odom", "base_link")
    localize_bag(camera, noting, odom="odom")
    assert noting.stamps == [stamp(number) for number in range(12)]
    odometry = [pose for pose in noting.odometry if pose is not None]
    moves = [invert(a) @ b for a, b in itertools.pairwise(odometry)]
    assert len(moves) == 11
    for number, move in enumerate(moves):
        true = invert(true_pose(number)) @ true_pose(number + 1)
        np.testing.assert_allclose(move, true, atol=3e-3)  # it drifts by 2 cm a second
    with pytest.raises(InputError, match="no transform connects wheel and camera"):
        check_frames(camera, "wheel", None)
    without = [s for s in messages() if s.topic != "/tf"]
    without.append(Sent("/tf", stamp(40), tf(transform(stamp(40), "odom", "base_link", np.eye(4)))))
    late = bag_camera(tmp_path / "late", without)
    with pytest.raises(InputError, match="TF has no odom -> camera at the time of any image"):
        check_frames(late, "odom", None)


def test_depth_comes_with_the_image_it_belongs_to(tmp_path: Path) -> None:
    sent = messages(depth=True)
    gone = stamp(4) + 2_000_000
    sent = [s for s in sent if s.stamp != gone]
    localizer = KnowingLocalizer(needs_depth=True)
    done = localize_bag(bag_camera(tmp_path, sent, with_depth=True), each_alone(localizer))
    assert [call.number for call in localizer.asked] == [0, 1, 2, 3, *range(5, 12)]
    assert all(call.depth.shape == (48, 64) and (call.depth == 2).all() for call in localizer.asked)
    assert done.results[4].reason == "no depth at its time"
    with pytest.raises(InputError, match="has no depth image topic"):
        bag_camera(tmp_path / "none", messages(), with_depth=True)


def test_a_broken_image_is_counted_and_the_next_is_taken(tmp_path: Path) -> None:
    sent = messages()
    (broken,) = (s for s in sent if s.topic.endswith("image_raw") and s.stamp == stamp(6))
    broken.content.data = broken.content.data[:100]
    done = localize_bag(bag_camera(tmp_path, sent), each_alone(KnowingLocalizer()))
    assert (
        done.results[6].reason.startswith("unusable image (") and done.results[7].map_from_camera is not None
    )
    small = image(stamp(0), "camera", frames(1)[0].image[:40], "rgb8")
    sent = [Sent(s.topic, s.stamp, small) if "image_raw" in s.topic else s for s in messages(1)]
    with pytest.raises(
        InputError, match=r"image 0, with /camera/color/camera_info: 64x40 pixels, .* is for 64x48"
    ):
        localize_bag(bag_camera(tmp_path / "small", sent), each_alone(KnowingLocalizer()))
    assert CAMERA.height == 48
