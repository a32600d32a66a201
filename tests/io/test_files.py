"""Files appear whole under their name, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from diff2i2p_core.io.files import atomic_path, write_text


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
