"""Outputs that every command refuses: its inputs by any name, folders, paths that cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest
from in_process import Command

from diff2i2p_core.engine.trainer import Trainer
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.files import sha256, write_text
from diff2i2p_core.io.ply import write_ply
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames


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
    for name in ("a.map", "b.map", "cache/room/1_2.npz", "set/data/a.txt", "set/frames/a.txt"):
        write_text(folder / name, name)
    write_text(folder / "set/work/raw/a.txt", "raw")
    write_text(folder / "runs/room.ply", "a file")
    (folder / "runs/there/ablation.md").mkdir(parents=True)
    write_text(folder / "test.yaml", TEST)
    write_text(folder / "train.yaml", TRAIN)
    for link, target in (("link.ply", "room.ply"), ("walk", "frames"), ("c.map", "b.map")):
        (folder / link).symlink_to(target)
    (folder / "again.safetensors").hardlink_to(folder / "tiny.safetensors")
    return folder


FRAME = "frames/frame-000001.pose.txt"
TEST = "name: tested\nsteps: 1\nbenchmark: {root: set}\n"
TRAIN = "name: room.ply\nsteps: 1\noutput: runs\nscenes: [{folder: frames}]\n"
BUILD = ("map", "build", "room.ply", "--trajectory", "views.tum", "--weights", "tiny.safetensors", "-o")
TEST_RUN = ("test", "test.yaml", "--checkpoint", "tiny.safetensors", "--out")
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
        (("map", "build", "frames", "-o", FRAME), f"{FRAME}: is no map and is not overwritten"),
        ((*BUILD, "b\udce4r.map"), "its name is not UTF-8; rename it"),
        ((*BUILD, "room.ply/room.map"), "room.ply/room.map: cannot be written (Not a directory)"),
        (("map", "build", "frames", "-o", "walk"), "walk: is an input, frames"),
        (("map", "join", "b.map", "a.map", "b.map"), "b.map: is an input"),
        ((*BUILD, "set/data/a.txt"), "set/data/a.txt: is no map and is not overwritten"),
        (("map", "join", FRAME, "a.map", "b.map"), f"{FRAME}: is no map and is not overwritten"),
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
        (("prepare", "frames", "set/data", "set"), "set/data: is an input"),
        (("prepare", "7scenes", "set/work/raw", "set"), "set/work: is an input"),
        (("prepare", "rosbag", "set/frames", "set", "--frames-only"), "set/frames: is an input"),
        (("prepare", "check", "set", "--report", "set/data/a.txt"), "set/data/a.txt: is an input"),
        (("prepare", "check", "frames", "--report", "walk"), "walk: is a folder; give a file"),
        ((*TEST_RUN, "set"), "set: is an input"),
        ((*TEST_RUN, "set/data"), "set/data: is an input"),
        (("train", "train.yaml"), "runs/room.ply: is a file; give a folder"),
        (("ablate", "train.yaml", "name=there"), "runs/there/ablation.md: is a folder; give a file"),
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
    for kind in (Diff2I2P, Trainer):
        monkeypatch.setattr(kind, "__init__", lambda *a, **k: pytest.fail("work was begun"))
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


def test_names_that_are_not_utf8(command: Command, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names as old archives have them: read where that is possible, else refused in one line."""
    monkeypatch.chdir(inputs)
    odd = "b\udce4r"
    for suffix, source in ((".ply", "room.ply"), (".tum", "views.tum"), (".safetensors", "tiny.safetensors")):
        Path(odd + suffix).write_bytes(Path(source).read_bytes())
    Path(odd).symlink_to("frames")
    weights = ("--weights", "tiny.safetensors", "--matcher", "network")
    done = command("map", "build", f"{odd}.ply", "--trajectory", f"{odd}.tum", *weights, "-o", "new/x.map")
    assert done.status == 0, done.err
    assert command("map", "info", "new/x.map").out.count("b\\udce4r.ply") == 1
    assert command("map", "build", odd, *weights, "-o", "new/y.map").status == 0
    Path(f"{odd}.map").write_bytes(Path("new/x.map").read_bytes())
    for arguments in (
        ("map", "info", f"{odd}.map"),
        ("map", "join", "new/z.map", "new/x.map", f"{odd}.map"),
        ("weights", "info", f"{odd}.safetensors"),
        ("map", "build", "room.ply", "-o", "new/z.map", "--weights", f"{odd}.safetensors"),
        ("evaluate", "localization", odd, odd, "--out", f"{odd}.out"),
    ):
        status, _, error = command(*arguments)
        assert status == 2 and "its name is not UTF-8; rename it" in error and error.count("\n") == 1, error
