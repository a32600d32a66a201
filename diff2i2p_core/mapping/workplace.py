"""The folder beside a map in which a build stores finished parts, so that it can be resumed."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from diff2i2p_core.errors import InputError
from diff2i2p_core.io.files import write_text


def fingerprint(path: Path) -> str:
    """A value that changes when a file, or a visible file in a folder, changes, from names, sizes and
    modification times.

    An unreadable file has one as well, because its reader gives the better error.
    """
    digest = hashlib.sha256(os.fsencode(path.resolve()))
    try:
        inside = (file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        for file in sorted(inside) if path.is_dir() else [path]:
            state = file.stat()
            digest.update(os.fsencode(file.name) + f" {state.st_size} {state.st_mtime_ns}\n".encode())
    except OSError as error:
        digest.update(f"{error.strerror}".encode())
    return digest.hexdigest()


@contextmanager
def workplace(
    out: Path, inputs: Mapping[str, str], note: Callable[[str], None] = lambda line: None
) -> Iterator[Path]:
    """The folder for building `out` from `inputs` (names, and text that changes with them).

    It holds the finished parts of an earlier, interrupted build from the same inputs. A build from other
    inputs is removed. `note` gets a line about both. The folder stays if the block fails, and is removed when
    it succeeds.
    """
    identity = hashlib.sha256(json.dumps(sorted(inputs.items())).encode()).hexdigest()[:12]
    folder = out.with_name(f".{out.name}.{identity}.build")
    for other in sorted(out.parent.glob(f".{out.name}.*.build")):
        if other != folder:
            with _locked(other, out):
                note(f"{out}: an unfinished build is discarded, because {_changes(other, inputs)}")
                shutil.rmtree(other, ignore_errors=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another path") from None
    with _locked(folder, out):
        if (folder / "inputs.json").is_file():
            note(f"{out}: resuming an unfinished build")
        else:
            write_text(folder / "inputs.json", json.dumps(dict(inputs)))
        yield folder
        shutil.rmtree(folder)


@contextmanager
def _locked(folder: Path, out: Path) -> Iterator[None]:
    """Hold a lock. The system releases it when the process ends, even if it is killed."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{out}: another process is building it; wait for it, or stop it") from None
        yield


def _changes(folder: Path, inputs: Mapping[str, str]) -> str:
    try:
        before = json.loads((folder / "inputs.json").read_text(encoding="utf-8"))
        changed = [name for name in inputs if before.get(name) != inputs[name]]
    except (OSError, ValueError, AttributeError):
        changed = []
    if not changed:
        return "it cannot be used"
    return f"{', '.join(changed)} changed"
