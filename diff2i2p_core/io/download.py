"""Downloads that resume where they were interrupted."""

from __future__ import annotations

from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from diff2i2p_core.errors import InputError

Progress = Callable[[int, int | None], None]
"""Called with the bytes done and, if known, the total."""

BLOCK = 1 << 18
TIMEOUT = 30.0
"""Seconds without an answer before a connection counts as broken."""
RANGE_NOT_SATISFIABLE = 416


class NotFound(InputError):
    """The address has no file."""


def download(url: str, part: Path, progress: Progress) -> None:
    """Download `url` to `part`. Resumes an interrupted download if the file has not changed."""
    if not url.startswith(("https://", "http://")):
        raise InputError(f"{url}: not a download address; give one with https://, or a copy of the file")
    tag = _tag(part)
    start = part.stat().st_size if part.is_file() and tag.is_file() else 0
    try:
        answer = _open(url, start, tag)
    except HTTPError as error:
        error.close()
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


def forget(part: Path) -> None:
    """Do not resume a download to `part`: the next one starts again."""
    _tag(part).unlink(missing_ok=True)


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
        return NotFound(f"{url}: not found (404); check the address, or give a copy of the file")
    return InputError(
        f"{url}: the server answered {error.code} ({error.reason}); try later, or give a copy of the file"
    )
