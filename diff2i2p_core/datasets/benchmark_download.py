"""Downloads a copy of a benchmark's pairs and unpacks it. Interrupted runs resume."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from diff2i2p_core.datasets.recording import SUBSETS
from diff2i2p_core.errors import InputError
from diff2i2p_core.io.download import download
from diff2i2p_core.io.files import atomic_path, full_disk_explained
from diff2i2p_core.pairs.benchmarks import BENCHMARKS, Benchmark
from diff2i2p_core.pairs.metadata import Entry, Layout, check_files, read_metadata

COPIES = "https://huggingface.co/datasets/prajnan/preprocessed_2d3d/resolve/main"
"""Copies of both benchmarks, made by neither the benchmarks' authors nor this project."""
FOLDERS = ("metadata", "data")
"""What is unpacked of an archive."""

Bytes = Callable[[int, int | None], None]
Count = Callable[[int, int], None]


def fetch_benchmark(
    layout: Layout,
    out: Path,
    *,
    source: Path | None = None,
    url: str | None = None,
    keep: bool = False,
    downloading: Bytes | None = None,
    unpacking: Count | None = None,
) -> dict[str, list[Entry]]:
    """Download a benchmark to the folder `out` and unpack it; nothing is done if it is complete. Returns its
    pairs.

    Args:
        source: the archive, if it is already on this machine.
        url: another address for it.
        keep: do not remove the downloaded archive at the end.
    """
    with suppress(InputError):
        return _pairs(layout, out)
    archive = source or download_archive(BENCHMARKS[layout], out, url, downloading)
    unpack_archive(archive, out, unpacking)
    pairs = _pairs(layout, out)
    if source is None and not keep:
        archive.unlink()
    return pairs


def _pairs(layout: Layout, root: Path) -> dict[str, list[Entry]]:
    """The pairs of all subsets. InputError if any of their files is missing."""
    pairs: dict[str, list[Entry]] = {name: read_metadata(root, layout, name) for name in SUBSETS}
    check_files(root, [entry for entries in pairs.values() for entry in entries])
    return pairs


def download_archive(
    benchmark: Benchmark, out: Path, url: str | None = None, progress: Bytes | None = None
) -> Path:
    """Download the benchmark's archive into the folder `out`, if it is not there. Returns its path."""
    archive = out / benchmark.archive
    if archive.is_file():
        return archive
    part = archive.with_name(f".{archive.name}.part")
    with full_disk_explained(out):
        out.mkdir(parents=True, exist_ok=True)
        download(url or f"{COPIES}/{benchmark.archive}", part, progress or (lambda done, total: None))
        part.replace(archive)
    return archive


def unpack_archive(archive: Path, out: Path, progress: Count | None = None) -> None:
    """Unpack the folders `metadata` and `data` of a benchmark's archive, wherever they are in it, into `out`.

    Files that exist with the right size are kept; each other file appears only when it is complete.
    InputError if the archive is damaged, too large for the disk, or not a benchmark, and for names that lead
    out of it.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            files = _files(archive, content)
            missing = {name: info for name, info in files.items() if _size(out / name) != info.file_size}
            _check_space(archive, out, sum(info.file_size for info in missing.values()))
            with full_disk_explained(out):
                for done, (name, info) in enumerate(missing.items(), start=len(files) - len(missing) + 1):
                    with (
                        content.open(info) as source,
                        atomic_path(out / name) as path,
                        path.open("wb") as target,
                    ):
                        shutil.copyfileobj(source, target, 1 << 20)
                    if progress is not None:
                        progress(done, len(files))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(
            f"{archive}: damaged, or not a zip archive ({error}); remove it and get it again"
        ) from None


def _files(archive: Path, content: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The benchmark's files by their paths below its root, checked."""
    infos = [info for info in content.infolist() if not info.is_dir()]
    for info in infos:
        path = PurePosixPath(info.filename)
        if (
            path.is_absolute()
            or ".." in path.parts
            or "\\" in info.filename
            or stat.S_ISLNK(info.external_attr >> 16)
        ):
            raise InputError(f"{archive}: '{info.filename}' leads out of it; do not use this archive")
    roots = {
        path.parts[: path.parts.index("metadata")]
        for path in (PurePosixPath(info.filename) for info in infos)
        if "metadata" in path.parts[:-1]
    }
    roots = {root for root in roots if "__MACOSX" not in root}
    if len(roots) != 1:
        what = "no folder 'metadata'" if not roots else "several folders 'metadata'"
        raise InputError(f"{archive}: holds {what}; give the archive of one benchmark")
    root = roots.pop()
    files = {}
    for info in infos:
        parts = PurePosixPath(info.filename).parts
        if parts[: len(root)] == root and parts[len(root)] in FOLDERS:
            files["/".join(parts[len(root) :])] = info
    return files


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _check_space(archive: Path, out: Path, needed: int) -> None:
    folder = out
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{archive}: {needed / 1e9:.1f} GB unpacked, but {out} has {free / 1e9:.1f} GB free; free some "
            "space, or choose another folder"
        )
