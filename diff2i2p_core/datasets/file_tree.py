"""Reads files from a folder or a zip in the same way. Names in a zip are never used as paths on disk."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from diff2i2p_core.errors import InputError
from diff2i2p_core.io.files import atomic_path

_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True)
class FileTree:
    """A folder, on disk or inside the zip file `path`."""

    path: Path
    inside: str = ""
    """The folder inside the zip, with a slash at the end."""

    def __str__(self) -> str:
        return str(self.path / self.inside)

    @property
    def is_zip(self) -> bool:
        return self.path.suffix.lower() == ".zip"

    def files(self) -> set[str]:
        """Names of the files directly in it."""
        if self.is_zip:
            return set(_index(self.path).get(self.inside, ((), ()))[0])
        return {entry.name for entry in self.path.iterdir() if entry.is_file()}

    def folders(self) -> set[str]:
        """Names of the folders directly in it."""
        if self.is_zip:
            return set(_index(self.path).get(self.inside, ((), ()))[1])
        return {entry.name for entry in self.path.iterdir() if entry.is_dir()}

    def sub(self, folder: str) -> FileTree:
        """The folder with that name in it."""
        if self.is_zip:
            return FileTree(self.path, f"{self.inside}{folder}/")
        return FileTree(self.path / folder)

    def read(self, name: str) -> bytes:
        """The bytes of a file directly in it."""
        try:
            if self.is_zip:
                return _opened(self.path).read(self.inside + name)
            return (self.path / name).read_bytes()
        except (KeyError, FileNotFoundError):
            raise InputError(f"{self}: {name} is missing; get the data again") from None
        except _BROKEN as error:
            raise InputError(f"{self}: {name} is broken ({error}); get the zip again") from None

    def nested(self, name: str, work: Path) -> FileTree:
        """A zip directly in it as a tree. If it is inside another zip, it is copied to `work` once."""
        if not self.is_zip:
            return open_tree(self.path / name)
        copy = work / f"{self.path.stem}-{self.inside.replace('/', '-')}{name}"
        try:
            info = _opened(self.path).getinfo(self.inside + name)
            if not copy.exists() or copy.stat().st_size != info.file_size:
                with (
                    _opened(self.path).open(info) as source,
                    atomic_path(copy) as part,
                    part.open("wb") as out,
                ):
                    shutil.copyfileobj(source, out, 1 << 20)
        except _BROKEN as error:
            raise InputError(f"{self}: {name} is broken ({error}); get the zip again") from None
        return open_tree(copy)

    def entered(self) -> FileTree:
        """The only folder in the tree if there is nothing else, or else the tree itself."""
        folders = self.folders()
        return self.sub(folders.pop()) if len(folders) == 1 and not self.files() else self


def open_tree(path: Path | str) -> FileTree:
    """The tree of a folder or a zip file. InputError if it is neither, or an incomplete zip."""
    path = Path(path)
    if path.is_dir():
        return FileTree(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give the downloaded data")
    if path.suffix.lower() != ".zip":
        raise InputError(f"{path}: neither a folder nor a .zip; give the data as downloaded")
    _index(path)
    return FileTree(path)


@lru_cache(maxsize=32)
def _opened(path: Path) -> zipfile.ZipFile:
    """An open zip, cached because each process reads many files from few zips."""
    try:
        return zipfile.ZipFile(path)
    except _BROKEN as error:
        raise InputError(f"{path}: not a complete zip file ({error}); download it again") from None


@lru_cache(maxsize=32)
def _index(path: Path) -> dict[str, tuple[list[str], list[str]]]:
    """The files and folders directly in each folder of a zip."""
    index: dict[str, tuple[list[str], list[str]]] = {"": ([], [])}
    for name in _opened(path).namelist():
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or "\\" in name or ":" in name:
            raise InputError(f"{path}: holds '{name}', a path that leads outside; get the zip again")
        folder = ""
        for part in parts if name.endswith("/") else parts[:-1]:
            if f"{folder}{part}/" not in index:
                index[f"{folder}{part}/"] = ([], [])
                index[folder][1].append(part)
            folder += f"{part}/"
        if not name.endswith("/"):
            index[folder][0].append(parts[-1])
    return index
