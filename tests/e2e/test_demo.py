"""The demo for real: node, player and listener as processes, over DDS of this host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames
from diff2i2p_core.weights.checkpoint import shipped_weights

REPO = Path(__file__).resolve().parents[2]
DEMO = [sys.executable, "-m", "diff2i2p_core.cli.main", "demo"]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames of a synthetic room."""
    folder = tmp_path_factory.mktemp("frames")
    room = make_room(3)
    write_frames(folder, room, Camera(320, 240, 262.5, 262.5, 159.5, 119.5), camera_path(room, 10, 1))
    return folder


@pytest.fixture(autouse=True)
def _this_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes import this tree, installed or not."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPO), str(REPO / "ros2_ws/src/diff2i2p")]))


def processes_about(word: str) -> list[str]:
    """Command lines of the running processes that hold `word`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if word in line:
            found.append(line)
    return found


def files_of(out: Path) -> dict[str, Any]:
    """Check what holds whatever was localized, and return the summary."""
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    poses = [line for line in (out / "trajectory.tum").read_text().splitlines() if not line.startswith("#")]
    assert len(poses) == summary["localized"]
    heard = [json.loads(line) for line in (out / "log" / "listener.jsonl").read_text().splitlines()]
    assert len({row["stamp"] for row in heard if row["kind"] == "tf"}) == summary["localized"]
    assert len(summary["frames"]) == summary["queries"]
    assert not any("no answer" in row["reason"] for row in summary["frames"])
    assert "</html>" in (out / "report.html").read_text()
    return summary


@pytest.mark.ros
@pytest.mark.slow
def test_the_embedded_sample_is_localized_over_ros(tmp_path: Path) -> None:
    if "lite-rgb" not in shipped_weights():
        pytest.skip("the weights lite-rgb are not in this tree")
    out = tmp_path / "demo"
    done = subprocess.run(
        [*DEMO, "--out", str(out), "--limit", "4"], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for step in ("1/4", "2/4", "3/4", "4/4"):
        assert step in done.stdout
    summary = files_of(out)
    assert summary["queries"] == 4 and summary["localized"] >= 1
    assert summary["median_translation_m"] < 0.5
    assert 0 < summary["latency_ms"]["median"] < 20_000
    assert (out / "overlay.png").stat().st_size > 10_000
    assert processes_about(str(out)) == []


@pytest.mark.ros
@pytest.mark.slow
def test_a_network_that_knows_nothing_ends_with_status_3(
    frames: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    arguments = ["--data", str(frames), "--out", str(tmp_path), "--weights", str(tiny_weights)]
    alone = os.environ | {"DIFF2I2P_WEIGHTS": str(tmp_path / "none"), "PIP_NO_INDEX": "1"}  # without views
    done = subprocess.run([*DEMO, *arguments], capture_output=True, text=True, timeout=280, env=alone)
    assert done.returncode == 3, done.stdout[-3000:] + done.stderr[-3000:]
    summary = files_of(tmp_path)
    assert (summary["queries"], summary["localized"]) == (3, 0)
    assert all(row["reason"] for row in summary["frames"])
    assert processes_about(str(tmp_path)) == []


@pytest.mark.ros
@pytest.mark.slow
def test_ctrl_c_leaves_no_process(frames: Path, tiny_weights: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(frames), "--out", str(tmp_path), "--weights", str(tiny_weights)]
    demo = subprocess.Popen([*DEMO, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 280
        while not (tmp_path / "log" / "node.log").exists():
            assert demo.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        assert processes_about(str(tmp_path / "log"))
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) != 0
        assert processes_about(str(tmp_path)) == []
    finally:
        demo.terminate()
        demo.wait(60)


@pytest.mark.ros
@pytest.mark.parametrize("arguments", [["--data", "/nowhere"], ["--weights", "/nowhere/w.safetensors"]])
def test_bad_input_is_one_line_and_status_2(tmp_path: Path, arguments: list[str]) -> None:
    done = subprocess.run(
        [*DEMO, "--out", str(tmp_path), *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "/nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_ros_the_fix_is_named(tmp_path: Path) -> None:
    blocked = "import sys; sys.modules['rclpy'] = None; from diff2i2p_core.cli.main import run; run()"
    command = [sys.executable, "-c", blocked, "demo", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "rclpy" in done.stderr and "make setup" in done.stderr and done.stderr.count("\n") == 1
