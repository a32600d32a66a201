"""Outputs are checked before the work; files appear complete under their name, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.io.files import atomic_path, check_output, check_output_folder, write_text


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_private_temporary_files_become_readable(tmp_path: Path) -> None:
    path = tmp_path / "b.bin"
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"x")
        temporary.chmod(0o600)
    assert path.stat().st_mode & 0o044 == 0o044


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`room.ply` in the working folder, with links to it, and `scans/a.ply`."""
    monkeypatch.chdir(tmp_path)
    write_text("room.ply", "points")
    write_text("scans/a.ply", "points")
    Path("link.ply").symlink_to("room.ply")
    Path("hard.ply").hardlink_to("room.ply")
    Path("linked_scans").symlink_to("scans")
    Path("turning").symlink_to("turning")
    return tmp_path


@pytest.mark.parametrize(
    "spelling", ["room.ply", "./scans/../room.ply", "{}/room.ply", "link.ply", "hard.ply"]
)
def test_an_output_that_is_an_input_is_refused(inputs: Path, spelling: str) -> None:
    path = spelling.format(inputs)
    for given in ([path, "room.ply"], ["room.ply", path]):
        with pytest.raises(InputError, match=r": is an input(, .*)?; choose another output"):
            check_output(given[0], [None, "other.ply", given[1]])
    with pytest.raises(InputError, match=r"scans/room.ply: is an input"):
        check_output_folder("scans", [inputs / "scans" / "room.ply"], ["report.html", "room.ply"])


@pytest.mark.parametrize("spelling", ["scans", "scans/", "linked_scans", "scans/../scans"])
def test_a_folder_that_is_an_input_is_refused(inputs: Path, spelling: str) -> None:
    for folder, given in ((spelling, "scans"), ("scans", spelling)):
        with pytest.raises(InputError, match="is an input"):
            check_output_folder(folder, [given])


def test_an_output_that_is_of_the_wrong_kind_or_cannot_be_written(inputs: Path) -> None:
    with pytest.raises(InputError, match="scans: is a folder; give a file"):
        check_output("scans")
    with pytest.raises(InputError, match=r"room\.ply: is a file; give a folder"):
        check_output_folder("room.ply")
    with pytest.raises(InputError, match=r"scans/a\.ply: is a folder"):
        Path("scans/a.ply").unlink()
        Path("scans/a.ply").mkdir()
        check_output_folder("scans", files=["a.ply"])
    with pytest.raises(InputError, match=r"/dev/null: is not a regular file"):
        check_output("/dev/null")
    for path in ("room.ply/x.map", "/proc/nothing/x.map", "turning/x.map", f"{'x' * 300}/x.map"):
        with pytest.raises(InputError, match=r"cannot be written \([A-Z].*\); choose another output"):
            check_output(path)
        with pytest.raises(InputError, match=r"cannot be written \([A-Z].*\); choose another output"):
            check_output_folder(Path(path).parent / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_what_is_protected_is_refused(inputs: Path) -> None:
    Path("scans/a.ply").chmod(0o444)
    with pytest.raises(InputError, match=r"a\.ply: is write-protected"):
        check_output("scans/a.ply")
    Path("scans").chmod(0o555)
    with pytest.raises(InputError, match=r"cannot be written \(Permission denied\)"):
        check_output("scans/new/b.ply")


def test_a_check_leaves_nothing_and_lets_old_results_be_replaced(inputs: Path) -> None:
    before = sorted(inputs.rglob("*"))
    check_output("new/folder/room.map", ["room.ply", "scans"])
    check_output("scans/a.ply", ["room.ply", "scans"])
    check_output_folder("new/folder", ["room.ply"], ["report.html"])
    check_output_folder("scans", ["scans/b.ply"], ["a.ply"])
    assert sorted(inputs.rglob("*")) == before and Path("scans/a.ply").read_text() == "points"
