"""`diff2i2p replay --live` for real: a bag played to the node over DDS of this host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from bag_writer import Sent, patrol, tf, transform, write_bag
from replay_room import messages, stamp, true_pose

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames
from diff2i2p_core.weights.checkpoint import shipped_weights

REPO = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "diff2i2p_core.cli.main"]


@pytest.fixture(autouse=True)
def _this_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes import this tree, installed or not."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPO), str(REPO / "ros2_ws/src/diff2i2p")]))


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [*COMMAND, *(str(a) for a in arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=280)


@pytest.mark.ros
@pytest.mark.slow
def test_a_room_replayed_over_dds(tmp_path: Path) -> None:
    """The walk that made the map, odometry that drifts, and another localizer's map -> odom in the bag."""
    if "lite-rgb" not in shipped_weights():
        pytest.skip("the weights lite-rgb are not in this tree")
    room = make_room(3)
    walk = camera_path(room, 16, 3, step=0.1)
    write_frames(tmp_path / "room", room, Camera(640, 480, 525, 525, 319.5, 239.5), walk)
    assert command("map", "build", tmp_path / "room", "-o", tmp_path / "room.map").returncode == 0
    frames = PosedFrames(tmp_path / "room")
    sent = patrol([frames[index] for index in range(0, 16, 2)], frames.camera, period=10**9)
    wrong = transform(stamp(0), "map", "odom", true_pose(7))
    bag = write_bag(tmp_path / "bag", [*sent, Sent("/tf", stamp(0), tf(wrong))])
    out = tmp_path / "out"
    done = command(
        "replay", bag, "--map", tmp_path / "room.map", "--pose-topic", "/gt", "--odom", "odom",
        "--base", "base_link", "--live", "--rate", 0.5, "--out", out, "--require", "availability>0", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert result["queries"] + result["dropped"] == 8 and result["queries"] >= 3
    assert result["median_translation_m"] < 0.3
    assert result["node"]["transforms"] >= result["localized"]
    assert result["node"]["transforms_apart_m"] < 1e-6
    assert 0 < result["latency_ms"]["median"] < 20_000
    for name in ("report.html", "result.json", "trajectory.tum", "log/node.log"):
        assert (out / name).is_file()
    assert "matches agree with the pose found" in (out / "report.html").read_text()


@pytest.mark.ros
@pytest.mark.slow
def test_a_node_that_cannot_use_the_weights_is_quoted_and_leaves_no_results(
    tmp_path: Path, tiny_weights: Path
) -> None:
    room = make_room(3)
    write_frames(tmp_path / "room", room, Camera(160, 120, 131, 131, 79.5, 59.5), camera_path(room, 3, 3))
    build = ("map", "build", tmp_path / "room", "-o", tmp_path / "room.map", "--weights", tiny_weights)
    assert command(*build).returncode == 0
    bag = write_bag(tmp_path / "bag", messages(4))
    arguments = ("replay", bag, "--map", tmp_path / "room.map", "--live", "--out", tmp_path / "out")
    done = command(*arguments, "--weights", "lite-rgb")
    assert done.returncode == 2 and done.stdout == ""
    assert "the ROS 2 node says: " in done.stderr and "made with weights 'tiny'" in done.stderr
    assert not (tmp_path / "out" / "result.json").exists()


def test_without_ros_the_fix_is_named() -> None:
    blocked = "import sys; sys.modules['rclpy'] = None; from diff2i2p_core.cli.main import run; run()"
    words = [sys.executable, "-c", blocked, "replay", "bag", "--map", "room.map", "--live"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "rclpy" in done.stderr and "make setup" in done.stderr and done.stderr.count("\n") == 1
