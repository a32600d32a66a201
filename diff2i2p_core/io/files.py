"""Writing files: checks before the work, atomic writes that leave no partial file, and checksums."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from diff2i2p_core.errors import InputError


def check_output(path: Path | str, inputs: Iterable[Path | str | None] = ()) -> None:
    """Check, before any work, that a file can be written to `path`.

    Raises:
        InputError: the file is one of `inputs` (also by another spelling or a link), is not a regular file,
            cannot be written, or its name is not UTF-8.
    """
    path = Path(path)
    check_name(path)
    with _cannot_be_written(path):
        _refuse_inputs(path, inputs)
        if path.is_dir():
            raise InputError(f"{path}: is a folder; give a file")
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is not a regular file; give another one")
        if path.exists() and not os.access(path, os.W_OK):
            raise InputError(f"{path}: is write-protected; choose another file")
        _try_writing_in(path.parent)


def check_output_folder(
    folder: Path | str, inputs: Iterable[Path | str | None] = (), files: Iterable[str] = ()
) -> None:
    """The same check for a folder and the `files` that will be written into it."""
    folder, inputs = Path(folder), list(inputs)
    check_name(folder)
    with _cannot_be_written(folder):
        _refuse_inputs(folder, inputs)
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: is a file; give a folder")
        _try_writing_in(folder)
    for name in files:
        check_output(folder / name, inputs)


def check_name(path: Path | str) -> None:
    """InputError if a path is not UTF-8, for files that libraries open which accept nothing else."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{path}: its name is not UTF-8; rename it") from None


def _refuse_inputs(path: Path, inputs: Iterable[Path | str | None]) -> None:
    for source in inputs:
        if source is not None and _are_same(path, Path(source)):
            words = "" if str(source) == str(path) else f", {source}"
            raise InputError(f"{path}: is an input{words}; choose another output")


def _are_same(one: Path, other: Path) -> bool:
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    return one.exists() and other.exists() and one.samefile(other)


def _try_writing_in(folder: Path) -> None:
    """OSError if no file can be created in `folder`, or in its nearest existing parent."""
    while not (folder.exists() or folder.is_symlink()):
        folder = folder.parent
    with tempfile.TemporaryFile(dir=folder):
        pass


@contextmanager
def _cannot_be_written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another output") from None


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`. Rename it to `path` if the block succeeds, else remove it.

    The temporary name keeps the suffix of `path`, because many writers choose the format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid4().hex}.part{path.suffix}")
    try:
        yield temporary
        # Some writers create private files, but others may read a map.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_text(path: Path | str, text: str) -> None:
    """Write `text` (UTF-8) to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256(path: Path | str) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def full_disk_explained(out: Path | str) -> Iterator[None]:
    """Turn "no space left" into an InputError, for work on `out` that another run can resume."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(
            f"{out}: the disk is full; free some space and run the same again, it resumes there"
        ) from None
