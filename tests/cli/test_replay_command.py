"""`diff2i2p replay`: output, files, exit status, and unusable bags and options."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from bag_writer import Sent, write_bag
from in_process import Command, Outcome
from replay_room import MAP_INFO, KnowingLocalizer, messages, stamp, true_pose

from diff2i2p_core.evaluation import offline_replay
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.ply import write_ply
from diff2i2p_core.io.trajectories import read_trajectory, write_trajectory
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.weights.checkpoint import load_model, save_model


@pytest.fixture
def replay(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Run `diff2i2p replay bag --map room.map` in this process, with a localizer whose answers are known."""
    monkeypatch.chdir(tmp_path)
    localizer = KnowingLocalizer(lost=(3, 4), wrong=(9,))
    monkeypatch.setattr(Localizer, "open", lambda *a, **k: localizer)
    monkeypatch.setattr(offline_replay, "load_info", lambda path: (MAP_INFO, {}))
    stamps = [stamp(number) / 1e9 for number in range(12)]
    write_trajectory(tmp_path / "gt.tum", stamps, [true_pose(number) for number in range(12)])
    write_trajectory(tmp_path / "late.tum", [1.0, 2.0], [true_pose(0), true_pose(1)])

    def run(*arguments: object, bag: str = "bag") -> Outcome:
        return command("replay", bag, "--map", "room.map", *arguments)

    return run


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    return write_bag(tmp_path / "bag", messages())


def test_files_and_numbers(replay: Command, bag: Path, tmp_path: Path) -> None:
    done = replay(
        "--no-track",
        "--ground-truth",
        "gt.tum",
        "--odom",
        "odom",
        "--base",
        "base_link",
        "--out",
        "out",
        "--json",
    )
    assert done.status == 0, done.err
    printed = json.loads(done.out)
    written = json.loads((tmp_path / "out/result.json").read_text())
    assert [frame["number"] for frame in written.pop("frames")] == [*range(12)]
    assert written == printed and printed["passed"] is True
    assert (printed["queries"], printed["localized"], printed["false_localizations"]) == (12, 10, 1)
    assert printed["median_translation_m"] == pytest.approx(0.02, abs=1e-6)
    assert printed["reasons"] == {"too few inliers": 2}
    stamps, poses = read_trajectory(tmp_path / "out/trajectory.tum")
    assert len(poses) == 10 and stamps[3] == pytest.approx(stamp(5) / 1e9)
    assert poses[0][2, 3] == pytest.approx(1.2 + 0.02 - 0.3, abs=1e-6)  # the camera is 30 cm above the base
    page = (tmp_path / "out/report.html").read_text()
    for part in ("</html>", "Position error", "too few inliers (3, need 60)", "data:image/jpeg", "gt.tum"):
        assert part in page
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "report.html", "result.json", "trajectory.tum"
    ]  # fmt: skip


def test_requirements_pass_and_fail(replay: Command, bag: Path) -> None:
    done = replay(
        "--pose-topic", "/gt", "--require", "recall@0.05m/5deg>=0.7", "--require", "availability>0.7"
    )
    assert done.status == 0 and done.out.count("pass") == 2, done.err
    done = replay("--no-track", "--pose-topic", "/gt", "--require", "ate<=1", "--require", "false==0")
    assert done.status == 1 and done.out.count("pass") == 1 and done.out.count("FAIL") == 1
    done = replay("--require", "availability==1", "--json")
    assert done.status == 1 and json.loads(done.out)["passed"] is False


def test_tracking_refuses_the_wrong_pose_as_a_jump(replay: Command, bag: Path) -> None:
    tracked = json.loads(replay("--pose-topic", "/gt", "--odom", "odom", "--json").out)
    assert (tracked["localized"], tracked["false_localizations"]) == (9, 0)
    assert sum(count for gate, count in tracked["reasons"].items() if gate.startswith("jump")) == 1
    alone = json.loads(replay("--pose-topic", "/gt", "--no-track", "--json").out)
    assert (alone["localized"], alone["false_localizations"]) == (10, 1)


def test_a_truth_of_another_frame_is_inspected_aligned(replay: Command, bag: Path, tmp_path: Path) -> None:
    stamps, poses = read_trajectory(tmp_path / "gt.tum")
    write_trajectory(tmp_path / "other.tum", stamps, [true_pose(40) @ pose for pose in poses])
    plain = json.loads(replay("--ground-truth", "other.tum", "--json").out)
    moved = json.loads(replay("--ground-truth", "other.tum", "--align", "se3", "--json").out)
    assert plain["median_translation_m"] > 1 > moved["median_translation_m"]
    assert "alignment se3" in moved["about"]["truth"]


def test_without_truth(replay: Command, bag: Path, tmp_path: Path) -> None:
    done = replay("--out", "out")
    assert done.status == 0 and "9 of 12 images localized; latency" in done.out
    assert "true pose unknown" in (tmp_path / "out/report.html").read_text()


def test_what_is_left_out_or_doubtful_is_said(replay: Command, tmp_path: Path) -> None:
    sent = messages()
    images = [s.content for s in sent if s.topic.endswith("image_raw")]
    images[5].header.stamp = images[4].header.stamp
    truth = [s.content for s in sent if s.topic == "/gt"]
    truth[2].pose.orientation.w = float("nan")
    write_bag(tmp_path / "bag", sent)
    done = replay("--pose-topic", "/gt", "--json", "--out", "out")
    warnings = json.loads(done.out)["warnings"]
    assert [line for line in done.err.splitlines() if line.startswith("warning: ")] == [
        f"warning: {line}" for line in warnings
    ]
    assert "image_raw: 1 of 12 messages left out" in warnings[0]
    assert "/gt: 1 of 12 poses are not finite or have no unit quaternion, they are left out" in warnings[1]
    assert all(line.partition(":")[0] in (tmp_path / "out/report.html").read_text() for line in warnings)
    for message in truth:
        message.pose.orientation.w = float("nan")
    write_bag(tmp_path / "other", sent)
    assert "12 of 12 poses are not finite" in replay("--pose-topic", "/gt", bag="other").err


def without(*words: str) -> list[Sent]:
    return [s for s in messages() if not any(word in s.topic for word in words)]


def renamed(topic: str, extra: str) -> list[Sent]:
    return [Sent(extra, s.stamp, s.content) for s in messages() if s.topic == topic]


@pytest.mark.parametrize(
    ("sent", "arguments", "words"),
    [
        ([], (), "bag: holds no message"),
        (without("camera_info"), (), "no /camera/color/camera_info for /camera/color/image_raw"),
        (without("image"), (), "has no colour image topic; record one"),
        (without(), ("--image", "/front"), "bag: /front: no such colour image topic; there are: /camera"),
        (
            [*without(), *renamed("/camera/color/image_raw", "/rear/image_raw")],
            (),
            "several colour image topics; name one of /camera/color/image_raw, /rear/image_raw",
        ),
        (without(), ("--ground-truth", "late.tum"), "late.tum (poses of camera): has no pose at the time"),
        (without(), ("--ground-truth", "none.tum"), "none.tum: cannot be read as a TUM trajectory"),
        (without(), ("--pose-topic", "/truth"), "bag: /truth: no such pose topic; there are: /gt"),
        (without(), ("--pose-tf", "map:camera"), "no transform connects map and camera"),
        (without(), ("--pose-tf", "map"), "truth from TF 'map': expected PARENT:CHILD"),
        (without(), ("--pose-topic", "/gt", "--ground-truth", "gt.tum"), "give only one of them"),
        (without(), ("--odom", "wheels"), "no transform connects wheels and camera"),
        (without("tf"), ("--base", "base_link"), "no transform connects base_link and camera"),
        (without(), ("--require", "speed>=1"), "requirement 'speed>=1': expected NAME>=NUMBER"),
        (without(), ("--require", "ate<=0.1"), "--require 'ate<=0.1': needs the truth"),
        (without(), ("--live", "--realtime"), "--realtime: --live is always in the bag's time"),
        (without(), ("--rate", "2"), "--rate: is only for --live"),
        (without(), ("--align", "se3"), "--align: there is no truth to align"),
        (
            without(),
            ("--align", "se3", "--pose-topic", "/gt", "--require", "ate<=1"),
            "is judged in the map's frame; leave --align out",
        ),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    replay: Command, tmp_path: Path, sent: list[Sent], arguments: tuple[str, ...], words: str
) -> None:
    write_bag(tmp_path / "bag", sent)
    done = replay(*arguments, "--out", "out")
    assert done.status == 2 and done.out == "" and words in done.err
    assert done.err.strip().count("\n") == 0 and done.err.startswith("diff2i2p: ")
    assert not (tmp_path / "out").exists()


def test_results_do_not_replace_a_file(replay: Command, bag: Path, tmp_path: Path) -> None:
    done = replay("--out", "gt.tum")
    assert done.status == 2 and "gt.tum: is a file; give a folder" in done.err
    assert (tmp_path / "gt.tum").is_file()


def test_files_that_are_not_bags_are_refused(replay: Command) -> None:
    done = replay(bag="nothing")
    assert done.status == 2 and "nothing: not a bag; give a folder with metadata.yaml" in done.err


def test_the_real_localizer_with_a_map_of_its_own_and_of_other_weights(
    tmp_path: Path,
    tiny_weights: Path,
    room_cloud: PointCloud,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
) -> None:
    """Untrained weights localize nothing: status 3, or 1 if something was required."""
    write_ply(tmp_path / "room.ply", room_cloud)
    write_trajectory(tmp_path / "views.tum", [0.0], [true_pose(10)])
    write_bag(tmp_path / "bag", messages(2))
    monkeypatch.chdir(tmp_path)

    replay = partial(command, "replay", "bag", "--map", "room.map")
    build = ("room.ply", "-o", "room.map", "--trajectory", "views.tum", "--weights", tiny_weights)
    assert command("map", "build", *build).status == 0
    done = replay("--weights", tiny_weights, "--pose-topic", "/gt", "--out", "out")
    assert done.status == 3 and "None of 2 images was localized" in done.out
    assert json.loads((tmp_path / "out/result.json").read_text())["recall_050m_10deg"] == 0
    assert replay("--weights", tiny_weights, "--require", "availability>0").status == 1
    other = tmp_path / "other.safetensors"
    save_model(load_model(tiny_weights), other, {"note": "other"})
    done = replay("--weights", other)
    assert done.status == 2 and "room.map: made with weights 'tiny'" in done.err
