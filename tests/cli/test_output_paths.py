"""Outputs that every command refuses: its inputs by any name, folders, paths that cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest
from in_process import Command

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.files import sha256, write_text
from diff2i2p_core.io.ply import write_ply
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames
from diff2i2p_core.weights import checkpoint


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, room_cloud: PointCloud, tiny_weights: Path) -> Path:
    """Inputs of commands, and other names for them. The map files are fake: no command may read them."""
    folder = tmp_path_factory.mktemp("inputs")
    write_ply(folder / "room.ply", room_cloud)
    room = make_room(3)
    camera = Camera(160, 120, 131, 131, 79.5, 59.5)
    write_frames(folder / "frames", room, camera, camera_path(room, 3, 3))
    write_trajectory(folder / "views.tum", [0.0], camera_path(room, 1, 3))
    (folder / "tiny.safetensors").write_bytes(tiny_weights.read_bytes())
    for name in ("a.map", "b.map", "cache/room/1_2.npz"):
        write_text(folder / name, name)
    for link, target in (("link.ply", "room.ply"), ("walk", "frames"), ("c.map", "b.map")):
        (folder / link).symlink_to(target)
    (folder / "again.safetensors").hardlink_to(folder / "tiny.safetensors")
    return folder


BUILD = ("map", "build", "room.ply", "--trajectory", "views.tum", "--weights", "tiny.safetensors", "-o")
EVALUATE = ("evaluate", "localization", "frames", "frames", "--weights", "tiny.safetensors", "--out")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*BUILD, "room.ply"), "room.ply: is an input"),
        ((*BUILD, "frames/../room.ply"), "is an input, room.ply"),
        ((*BUILD, "link.ply"), "link.ply: is an input, room.ply"),
        ((*BUILD, "views.tum"), "views.tum: is an input"),
        ((*BUILD, "again.safetensors"), "again.safetensors: is an input"),
        ((*BUILD, "frames"), "frames: is a folder; give a file"),
        ((*BUILD, "room.ply/room.map"), "room.ply/room.map: cannot be written (Not a directory)"),
        (("map", "build", "frames", "-o", "walk"), "walk: is an input, frames"),
        (("map", "join", "b.map", "a.map", "b.map"), "b.map: is an input"),
        (("map", "join", "c.map", "a.map", "b.map"), "c.map: is an input, b.map"),
        (("map", "join", "new.map", "b.map", "c.map"), "b.map: nothing to join"),
        (("map", "join", "frames", "a.map", "b.map"), "frames: is a folder; give a file"),
        ((*EVALUATE, "frames"), "frames: is an input"),
        ((*EVALUATE, "walk"), "walk: is an input, frames"),
        ((*EVALUATE, "room.ply"), "room.ply: is a file; give a folder"),
        ((*EVALUATE, "out", "--beside", "out"), "out: is an input"),
        (("weights", "convert", "tiny.safetensors", "again.safetensors"), "again.safetensors: is an input"),
        (("weights", "convert", "tiny.safetensors", "a.map/x.safetensors"), "cannot be written"),
        (("prepare", "frames", "frames", "walk"), "walk: is an input, frames"),
        (("prepare", "rosbag", "frames", "frames", "--frames-only"), "frames: is an input"),
        (("prepare", "tum", "frames", "room.ply"), "room.ply: is a file; give a folder"),
        (("prepare", "check", "frames", "--report", "walk"), "walk: is a folder; give a file"),
        (("eval", "cache", "--out", "room.ply"), "room.ply: is a file; give a folder"),
    ],
)
def test_no_work_starts_for_an_impossible_output(
    command: Command,
    inputs: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(inputs)
    monkeypatch.setattr(checkpoint, "load_model", lambda *a, **k: pytest.fail("work was begun"))
    before = {path: sha256(path) for path in sorted(inputs.rglob("*")) if path.is_file()}
    status, printed, error = command(*arguments)
    assert (status, printed) == (2, "") and words in error and error.count("\n") == 1, error
    assert {path: sha256(path) for path in sorted(inputs.rglob("*")) if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("localize",), "diff2i2p: Missing option '--map'; see `diff2i2p localize --help`"),
        (("map", "frob"), "diff2i2p: No such command 'frob'; see `diff2i2p map --help`"),
        (("replay", "bag", "--map", "m", "--align", "x"), "diff2i2p: Invalid value for '--align'"),
        (("replay", "--map"), "diff2i2p: Option '--map' requires an argument"),
        (("map", "info", "x" * 300), "File name too long; check the path and its permissions"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    command: Command, arguments: tuple[str, ...], words: str
) -> None:
    status, printed, error = command(*arguments)
    assert (status, printed) == (2, "") and words in error and error.count("\n") == 1


def test_no_arguments_show_the_help(command: Command) -> None:
    done = command("map")
    assert done.status == 2 and "Build and join map files" in done.out and done.err == ""
