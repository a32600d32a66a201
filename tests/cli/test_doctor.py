"""`diff2i2p doctor`: each missing part is named with its fix, and the exit status follows."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from diff2i2p_core.cli import doctor
from diff2i2p_core.cli.main import app


def report(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["doctor", "--json", *arguments])
    assert result.exit_code in (0, 2), result.output
    return result.exit_code, json.loads(result.stdout)


def check(found: dict[str, Any], name: str) -> dict[str, str]:
    (line,) = (line for line in found["checks"] if line["name"] == name)
    return dict(line)


def shadow(monkeypatch: pytest.MonkeyPatch, folder: Path, module: str) -> None:
    """Let `module` fail at import in the processes that doctor starts."""
    (folder / f"{module}.py").write_text("raise ImportError('broken on purpose')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))


def test_the_status_and_each_line_agree() -> None:
    status, found = report()
    assert check(found, "PyTorch")["status"] == "ok"
    assert "threads" in check(found, "PyTorch")["found"]
    missing = [line for line in found["checks"] if line["status"] == "missing"]
    assert found["ready"] == (not missing) == (status == 0)
    assert all(line["fix"] for line in missing)


def test_a_needed_package_that_fails_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    status, found = report()
    assert status == 2
    assert check(found, "opencv")["status"] == "missing"
    assert check(found, "opencv")["fix"] == "pip install opencv-python-headless"


def test_poselib_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "poselib", None)
    _, found = report()
    assert check(found, "poselib")["status"] == "note"
    assert "USAC" in check(found, "poselib")["found"]


def test_a_broken_ros_is_missing_and_the_report_continues(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shadow(monkeypatch, tmp_path, "rclpy")
    status, found = report()
    assert status == 2
    assert check(found, "ROS 2")["found"] == "ImportError: broken on purpose"
    assert "make setup" in check(found, "ROS 2")["fix"]
    assert check(found, "disk here")


@pytest.mark.ros
def test_tf2_msgs_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert check(report()[1], "tf2_msgs")["status"] == "ok"
    shadow(monkeypatch, tmp_path, "tf2_msgs")
    status, found = report()
    assert status == 2
    assert check(found, "ROS 2")["status"] == "ok"
    assert check(found, "tf2_msgs")["status"] == "missing"


def test_broken_default_weights_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    checkpoint = pytest.importorskip("diff2i2p_core.weights.checkpoint")
    monkeypatch.setattr(checkpoint, "SHIPPED", tmp_path)
    name = f"weights {checkpoint.DEFAULT_WEIGHTS}"
    assert check(report()[1], name)["status"] == "missing"
    path = tmp_path / f"{checkpoint.DEFAULT_WEIGHTS}.safetensors"
    path.write_bytes(b"not weights")
    status, found = report()
    assert status == 2
    assert str(path) in check(found, name)["found"]


def test_missing_or_damaged_features_are_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The check itself fetches nothing."""
    save_file = pytest.importorskip("safetensors.torch").save_file
    models = pytest.importorskip("diff2i2p_core.models.xfeat")
    monkeypatch.setenv("DIFF2I2P_WEIGHTS", str(tmp_path))
    fetch = "diff2i2p weights fetch xfeat"
    line = check(report()[1], "weights xfeat")
    assert (line["status"], line["fix"]) == ("note", fetch) and "not fetched yet" in line["found"]
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "xfeat.safetensors").write_bytes(b"not weights")
    line = check(report()[1], "weights xfeat")
    assert (line["status"], line["fix"]) == ("note", fetch) and "is damaged" in line["found"]
    save_file(models.XFeat().state_dict(), tmp_path / "xfeat.safetensors")
    line = check(report()[1], "weights xfeat")
    assert line["status"] == "ok" and "Apache-2.0" in line["found"]


def test_little_shared_memory_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SHM_NEEDED", 2**60)
    _, found = report()
    assert check(found, "shared memory")["status"] == "note"
    assert "--shm-size" in check(found, "shared memory")["fix"]


def test_in_words_each_fault_has_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 2
    assert "pip install opencv-python-headless" in result.stdout
    assert "cannot run yet" in result.stdout
