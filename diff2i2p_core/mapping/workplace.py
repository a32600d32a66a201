"""The folder beside a map in which an unfinished build keeps what is done, so that it can go on."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from diff2i2p_core.errors import InputError
from diff2i2p_core.io.files import write_text


def fingerprint(path: Path) -> str:
    """Changes when a file, or a visible file in a folder, does: of names, sizes and times of change.

    What cannot be read has one too: its reader says best what is wrong.
    """
    digest = hashlib.sha256(str(path.resolve()).encode())
    try:
        inside = (file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        for file in sorted(inside) if path.is_dir() else [path]:
            state = file.stat()
            digest.update(f"{file.name} {state.st_size} {state.st_mtime_ns}\n".encode())
    except OSError as error:
        digest.update(f"{error.strerror}".encode())
    return digest.hexdigest()


@contextmanager
def workplace(
    out: Path, inputs: Mapping[str, str], note: Callable[[str], None] = lambda line: None
) -> Iterator[Path]:
    """The folder of the build of `out` from `inputs` (names, and text that changes with them).

    It holds what an earlier, unfinished build of the same inputs did; one of other inputs is removed. `note`
    gets a line about either. The folder stays if the block fails, and is removed with it done.
    """
    identity = hashlib.sha256(json.dumps(sorted(inputs.items())).encode()).hexdigest()[:12]
    folder = out.with_name(f".{out.name}.{identity}.build")
    for other in sorted(out.parent.glob(f".{out.name}.*.build")):
        if other != folder:
            with _locked(other, out):
                note(f"{out}: an unfinished build is thrown away, since {_changes(other, inputs)}")
                shutil.rmtree(other, ignore_errors=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another path") from None
    with _locked(folder, out):
        if (folder / "inputs.json").is_file():
            note(f"{out}: going on with an unfinished build")
        else:
            write_text(folder / "inputs.json", json.dumps(dict(inputs)))
        yield folder
        shutil.rmtree(folder)


@contextmanager
def _locked(folder: Path, out: Path) -> Iterator[None]:
    """The system frees the lock when the process ends, also when it is killed."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{out}: another process is building it; wait for it, or end it") from None
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
