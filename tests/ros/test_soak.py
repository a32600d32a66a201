"""tools/soak.py: some seconds of it over DDS, and what it objects to."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.ply import write_ply
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.mapping.build_file import build_map
from diff2i2p_core.mapping.viewpoints import looking

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.mark.slow
@pytest.mark.usefixtures("xfeat_network")
def test_trouble_of_every_kind_for_some_seconds(room_cloud: PointCloud, tmp_path: Path) -> None:
    colors = np.random.default_rng(0).integers(0, 255, (len(room_cloud), 3)).astype(np.uint8)
    write_ply(tmp_path / "room.ply", replace(room_cloud, colors=colors))
    views = [looking(np.array([2, 1.0, 1.2]), yaw, 0.1) for yaw in (0.0, 1.5, 3.0)]
    write_trajectory(tmp_path / "views.tum", range(3), views)
    build_map(
        tmp_path / "room.ply", tmp_path / "room.map", trajectory=tmp_path / "views.tum", matcher="views"
    )
    command: list[Any] = [
        sys.executable,
        TOOLS / "soak.py",
        tmp_path / "room.map",
        tmp_path / "out",
        "--seconds",
        "24",
    ]
    done = subprocess.run([*command, "--rate", "4"], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    result = json.loads((tmp_path / "out/soak.json").read_text())
    assert result["localized"] > 5 and result["false"] == 0 and result["largest_error_m"] < 0.1
    assert set(result["troubles"]) == {
        "malformed messages",
        "reloads",
        "jumps of the clock",
        "times the camera was gone",
    }
    assert int(result["node"]["image_faults"]) > 0 and int(result["node"]["camera_info_faults"]) > 0
    assert result["resources"]["at the end"]["handles"] > 10
    assert not set(result["missed"]) - {"memory grew"}  # in the first seconds it still may


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run of ten images that went well: sent one by one, answered after 100 ms."""
    monkeypatch.syspath_prepend(TOOLS)
    stamps = range(1, 11)
    poses = [(stamp, stamp * 10**9 + 10**8, np.eye(4)) for stamp in stamps]
    robot = SimpleNamespace(malformed=lambda: iter([print]), poses=poses, values={})
    soak = importlib.import_module("soak").Soak(robot, None, [], 10.0)
    soak.sent = {stamp: (np.eye(4), stamp * 10**9) for stamp in stamps}
    soak.samples = [{"own_mb": 500.0, "threads": 20, "handles": 50} for _ in stamps]
    return soak


def test_a_good_run_has_no_objection(run: Any) -> None:
    result = run.result()
    assert result["missed"] == []
    assert (result["images"], result["localized"], result["false"]) == (10, 10, 0)
    assert result["p95_ms"] == pytest.approx(100)


def test_every_requirement_can_be_missed(run: Any) -> None:
    run.samples[-1] = {"own_mb": 600.0, "threads": 20, "handles": 90}
    assert run.result()["missed"] == ["memory grew", "threads or handles grew"]
    run.samples.pop()
    wrong = np.eye(4)
    wrong[0, 3] = 0.3
    run.robot.poses[3] = (4, 4 * 10**9 + 10**9, wrong)
    run.robot.poses.pop()
    assert run.result()["missed"] == ["false poses", "95 % are later than 180 ms", "images without a pose"]
    run.troubles = Counter(reloads=1)  # then images may be lost
    assert run.result()["missed"] == ["false poses"]
    run.robot.poses.clear()
    assert run.result()["missed"] == ["no image was localized"]
