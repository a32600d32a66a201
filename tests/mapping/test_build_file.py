"""Builds that are interrupted, resumed, or run in several processes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.ply import write_ply
from diff2i2p_core.io.tensor_file import write_tensors
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.mapping import parts as parts_module
from diff2i2p_core.mapping.build_file import build_map
from diff2i2p_core.mapping.encode import encode_views
from diff2i2p_core.mapping.map_file import PointMap
from diff2i2p_core.mapping.parts import PART_VIEWS
from diff2i2p_core.mapping.viewpoints import looking
from diff2i2p_core.mapping.workplace import fingerprint
from diff2i2p_core.typing import Progress

VIEWS = [looking(np.array([2, y, 1.2]), yaw, 0.1) for y in (1.0, 2.5) for yaw in np.arange(0, 6.2, 0.6)]


@pytest.fixture
def source(tmp_path: Path, room_cloud: PointCloud, tiny_weights: Path) -> dict[str, Any]:
    """Arguments of a build of some 20 submaps."""
    write_ply(tmp_path / "room.ply", room_cloud)
    write_trajectory(tmp_path / "views.tum", range(len(VIEWS)), VIEWS)
    return {
        "source": tmp_path / "room.ply",
        "out": tmp_path / "room.map",
        "weights": tiny_weights,
        "matcher": "network",
        "trajectory": tmp_path / "views.tum",
    }


def same(a: PointMap, b: PointMap) -> bool:
    return (
        np.array_equal(a.cloud.points, b.cloud.points)
        and np.array_equal(a.views, b.views)
        and all(
            torch.equal(getattr(p, name), getattr(q, name))
            for p, q in zip(a.submaps, b.submaps, strict=True)
            for name in ("points", "superpoints", "fine", "patches")
        )
    )


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def stop_after(views: int) -> Progress:
    def progress(what: str, done: int, total: int | None) -> None:
        if what == "encoding submaps" and done >= views:
            raise KeyboardInterrupt

    return progress


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets the number of views each time some are encoded."""
    counts: list[int] = []
    original = encode_views

    def counting(cloud: Any, views: Any, *rest: Any) -> Any:
        counts.append(len(views))
        return original(cloud, views, *rest)

    monkeypatch.setattr(parts_module, "encode_views", counting)
    return counts


def test_an_interrupted_build_resumes_and_gives_the_same_map(
    source: dict[str, Any], encoded: list[int]
) -> None:
    whole = build_map(**{**source, "out": source["out"].with_name("whole.map")})
    assert len(whole.submaps) > 2 * PART_VIEWS - 4
    num_views = sum(encoded)
    encoded.clear()
    notes: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        build_map(**source, progress=stop_after(PART_VIEWS), note=notes.append)
    assert not source["out"].exists() and len(leftovers(source["out"].parent)) == 1 and notes == []
    assert sum(encoded) == PART_VIEWS
    again = build_map(**source, note=notes.append)
    assert sum(encoded) == num_views and len(notes) == 1 and "resuming" in notes[0]
    assert same(again, whole)
    assert leftovers(source["out"].parent) == []


@pytest.mark.parametrize("changed", ["source", "trajectory", "settings"])
def test_a_changed_input_starts_again(source: dict[str, Any], encoded: list[int], changed: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_map(**source, progress=stop_after(PART_VIEWS))
    encoded.clear()
    if changed == "settings":
        source["up"] = "y"
    else:
        os.utime(source[changed], (1, 1))
    notes: list[str] = []
    build_map(**source, note=notes.append)
    assert sum(encoded) > PART_VIEWS
    assert len(notes) == 1 and f"discarded, because {changed} changed" in notes[0]
    assert leftovers(source["out"].parent) == []


def test_a_full_disk_keeps_what_is_done(source: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    write, parts = write_tensors, []

    def full(path: Path, tensors: Any) -> None:
        parts.append(path)
        if len(parts) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, tensors)

    def counting(path: Path, tensors: Any) -> None:
        parts.append(path)
        write(path, tensors)

    monkeypatch.setattr(parts_module, "write_tensors", full)
    with pytest.raises(InputError, match="disk is full"):
        build_map(**source)
    assert not source["out"].exists()
    parts[:] = []
    monkeypatch.setattr(parts_module, "write_tensors", counting)
    assert len(build_map(**source).submaps) > PART_VIEWS
    assert all("000000" not in path.name for path in parts)


def test_a_build_that_cannot_work_leaves_nothing(source: dict[str, Any], room_cloud: PointCloud) -> None:
    write_ply(source["source"], PointCloud(room_cloud.points))
    with pytest.raises(InputError, match="rgb"):
        build_map(**source)
    assert not source["out"].exists() and leftovers(source["out"].parent) == []


def test_two_builds_of_one_map_at_once_are_refused(source: dict[str, Any]) -> None:
    def progress(what: str, done: int, total: int | None) -> None:
        with pytest.raises(InputError, match="another process is building it"):
            build_map(**source)

    build_map(**source, progress=progress)


@pytest.mark.slow
def test_a_killed_build_stops_its_processes_and_resumes(source: dict[str, Any]) -> None:
    code = f"""
from diff2i2p_core.mapping.build_file import build_map
if __name__ == "__main__":
    build_map({str(source["source"])!r}, {str(source["out"])!r}, weights={str(source["weights"])!r},
              trajectory={str(source["trajectory"])!r}, matcher="network", jobs=2)
"""
    script = source["out"].with_name("build.py")
    script.write_text(code)
    process = subprocess.Popen([sys.executable, str(script)], start_new_session=True)
    folder = source["out"].parent
    deadline = time.monotonic() + 120
    while not list(folder.glob(".room.map.*.build/part-*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not source["out"].exists()
    while True:  # the workers notice within a task
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--sid", str(process.pid)], capture_output=True, text=True
        )
        if not listed.stdout.split():
            break
        assert time.monotonic() < deadline
        time.sleep(0.1)
    notes: list[str] = []
    assert len(build_map(**source, note=notes.append).submaps) > PART_VIEWS
    assert len(notes) == 1 and "resuming" in notes[0] and leftovers(folder) == []


def test_a_fingerprint_changes_with_the_files_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    first = fingerprint(tmp_path)
    (tmp_path / ".own.map.0.build").mkdir()  # the map may be built into the folder
    assert fingerprint(tmp_path) == first
    (tmp_path / "b.png").write_bytes(b"2")
    assert fingerprint(tmp_path) != first
    assert fingerprint(tmp_path / "a.png") != fingerprint(tmp_path / "b.png")
    fingerprint(tmp_path / "missing")  # its reader says so
