"""Fetches published weights: resumable downloads, copies of local files, and checks."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from diff2i2p_core.errors import InputError
from diff2i2p_core.io.files import full_disk_explained, write_text
from diff2i2p_core.weights.checkpoint import load_model, weights_id
from diff2i2p_core.weights.published import FOLDER_VARIABLE, PAGE, PublishedWeights

Progress = Callable[[int, int | None], None]
"""Called with the bytes done and, if known, the total."""

BLOCK = 1 << 18
TIMEOUT = 30.0
"""Seconds without an answer before a connection counts as broken."""
RANGE_NOT_SATISFIABLE = 416


@dataclass(frozen=True)
class Fetched:
    """A copy that passed the checks."""

    path: Path
    sha256: str
    new: bool
    """False if it already existed, unchanged."""


def fetch(
    weights: PublishedWeights,
    *,
    source: Path | None = None,
    url: str | None = None,
    progress: Progress = lambda done, total: None,
) -> Fetched:
    """Get weights from `source` (the file, or a folder with it) or `url`, else from the published address.

    The copy is put in place only after its SHA-256 (if known) and its tensors have been checked. Nothing in
    it is run. An existing, unchanged copy is kept. InputError says what failed.
    """
    path = weights.path
    if path.is_file() and _recorded(weights) == (present := weights_id(path)):
        return Fetched(path, present, new=False)
    part = path.with_name(f".{path.name}.part")
    with folder_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if source is not None:
            _tag(part).unlink(missing_ok=True)
            shutil.copyfile(_local_file(weights, source), part)
            part.chmod(0o644)
        else:
            download(_address(weights, url), part, progress)
        digest = _checked(weights, part)
        write_text(weights.record, f"{digest}  {path.name}\n")
        part.replace(path)
    return Fetched(path, digest, new=True)


@contextmanager
def folder_explained(path: Path) -> Iterator[None]:
    """Turn errors when writing fetched weights to `path` into an InputError."""
    try:
        with full_disk_explained(path.parent):
            yield
    except OSError as error:
        raise InputError(
            f"{error.filename or path}: {error.strerror or error}; set {FOLDER_VARIABLE} to a writable folder"
        ) from None


def download(url: str, part: Path, progress: Progress) -> None:
    """Download `url` to `part`. Resumes an interrupted download if the file has not changed."""
    if not url.startswith(("https://", "http://")):
        raise InputError(f"{url}: not a download address; give one with https://, or a copy of the file")
    tag = _tag(part)
    start = part.stat().st_size if part.is_file() and tag.is_file() else 0
    try:
        answer = _open(url, start, tag)
    except HTTPError as error:
        if error.code != RANGE_NOT_SATISFIABLE or not start:
            raise _refused(url, error) from None
        tag.unlink()
        download(url, part, progress)
        return
    with answer:
        start = start if answer.status == 206 else 0
        total = None if answer.length is None else start + answer.length
        with part.open("r+b" if start else "wb") as file:
            tag.unlink(missing_ok=True)
            if state := _state(answer):
                tag.write_text(state, encoding="utf-8")
            file.seek(start)
            progress(start, total)
            while block := _read(answer, url, file.tell(), total):
                file.write(block)
                progress(file.tell(), total)
            if total is not None and file.tell() < total:
                raise _broken_off(url, file.tell(), total)
    tag.unlink(missing_ok=True)


def _open(url: str, start: int, tag: Path) -> HTTPResponse:
    headers = {"User-Agent": "diff2i2p"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": tag.read_text(encoding="utf-8")}
    try:
        answer = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError:
        raise
    except (URLError, HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{url}: cannot be reached ({reason}); check the network, or give a copy of the file"
        ) from None
    assert isinstance(answer, HTTPResponse)
    return answer


def _tag(part: Path) -> Path:
    """A file beside a part that holds the server's version of the file, so that versions are never mixed."""
    return part.with_name(f"{part.name}.tag")


def _state(answer: HTTPResponse) -> str | None:
    """The value for If-Range: a strong ETag, else the date of modification."""
    tag = answer.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")


def _read(answer: HTTPResponse, url: str, done: int, total: int | None) -> bytes:
    try:
        return answer.read(BLOCK)
    except (OSError, HTTPException):
        raise _broken_off(url, done, total) from None


def _broken_off(url: str, done: int, total: int | None) -> InputError:
    size = "" if total is None else f" of {total / 1e6:.1f}"
    return InputError(f"{url}: the connection broke off at {done / 1e6:.1f}{size} MB; run the same again")


def _refused(url: str, error: HTTPError) -> InputError:
    if error.code == 404:
        return InputError(
            f"{url}: not found (404); find the file on {PAGE} and give its address, or a copy of the file"
        )
    return InputError(
        f"{url}: the server answered {error.code} ({error.reason}); try later, or give a copy of the file"
    )


def _address(weights: PublishedWeights, url: str | None) -> str:
    address = url or weights.url
    if address is None:
        raise InputError(
            f"{weights.name}: the address of its file is unknown; find it on {PAGE} and give it, "
            "or a copy of the file"
        )
    return address


def _local_file(weights: PublishedWeights, source: Path) -> Path:
    if source.is_file():
        return source
    names = [name for name in (weights.file, weights.path.name) if name]
    files = [source / name for name in names if (source / name).is_file()]
    if not files:
        raise InputError(f"{source}: no such file, and no folder with {' or '.join(names)}; give the file")
    return files[0]


def _recorded(weights: PublishedWeights) -> str | None:
    if weights.sha256 or not weights.record.is_file():
        return weights.sha256
    return weights.record.read_text(encoding="utf-8").partition(" ")[0]


def _checked(weights: PublishedWeights, part: Path) -> str:
    """The SHA-256 of a new copy. A wrong copy is removed."""
    digest = weights_id(part)
    try:
        if weights.sha256 not in (None, digest):
            raise InputError(
                f"{weights.name}: the download has SHA-256 {digest} instead of {weights.sha256} "
                "and was removed; run the same again"
            )
        load_model(part, dataset=weights.dataset)
    except InputError:
        part.unlink()
        raise
    return digest
