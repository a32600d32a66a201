"""Fetches published weights: resumable downloads, copies of local files, and checks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from diff2i2p_core.errors import InputError
from diff2i2p_core.io.download import NotFound, Progress, download, forget
from diff2i2p_core.io.files import full_disk_explained, write_text
from diff2i2p_core.weights.archive import unpack
from diff2i2p_core.weights.checkpoint import load_model, weights_id
from diff2i2p_core.weights.published import FOLDER_VARIABLE, PAGE, PublishedWeights


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
    member: str | None = None,
    progress: Progress = lambda done, total: None,
) -> Fetched:
    """Get weights from `source` (the file, or a folder with it) or `url`, else from the published addresses.

    The file may be a zip archive with the weights; `member` chooses one of several in it. The copy is put in
    place only after its SHA-256 (if known) and its tensors have been checked. Nothing in it is run. An
    existing, unchanged copy is kept. InputError says what failed.
    """
    path = weights.path
    if path.is_file() and _recorded(weights) == (present := weights_id(path)):
        return Fetched(path, present, new=False)
    part = path.with_name(f".{path.name}.part")
    with folder_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if source is not None:
            forget(part)
            shutil.copyfile(_local_file(weights, source), part)
            part.chmod(0o644)
        else:
            _download_any(weights.urls if url is None else [url], part, progress)
        unpack(part, weights, member)
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


def _download_any(urls: Sequence[str], part: Path, progress: Progress) -> None:
    """Download the first address that has a file."""
    for url in urls:
        try:
            download(url, part, progress)
            return
        except NotFound:
            continue
    raise InputError(
        f"{urls[-1]}: not found (404); find the file on {PAGE} and give its address, or a copy of the file"
    )


def _local_file(weights: PublishedWeights, source: Path) -> Path:
    if source.is_file():
        return source
    names = [*weights.files, weights.path.name]
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
