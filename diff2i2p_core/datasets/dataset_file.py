"""`dataset.json`, which describes a prepared set and marks it as complete, and the list of checksums."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from diff2i2p_core.errors import InputError
from diff2i2p_core.io.files import sha256, write_text
from diff2i2p_core.pairs.metadata import Layout

VERSION = 1
DATASET = "dataset.json"
CHECKSUMS = "checksums.sha256"
"""In the format of `sha256sum -c`."""
UNFINISHED = "unfinished.json"
"""Replaces `dataset.json` while a set is being made. It holds the set's source."""


@dataclass(frozen=True)
class DatasetFile:
    """The content of `dataset.json`."""

    source: dict[str, Any]
    """What the set was made from: kind, names and settings. The same source gives the same set."""
    layout: Layout
    subsets: dict[str, dict[str, Any]]
    scenes: dict[str, dict[str, Any]]
    checksums: str
    """SHA-256 of `checksums.sha256`, which lists those of all files."""

    def write(self, root: Path) -> None:
        write_text(root / DATASET, json.dumps({"version": VERSION, **vars(self)}, indent=1) + "\n")


def read_dataset(root: Path) -> DatasetFile:
    """The file of a finished set. InputError if there is none."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give a prepared set")
    if (root / UNFINISHED).exists():
        raise InputError(f"{root}: is unfinished; run the same `prepare` again to resume it")
    content = _json(root / DATASET)
    try:
        if content.pop("version") != VERSION or content["layout"] not in get_args(Layout):
            raise ValueError
        return DatasetFile(**content)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{root / DATASET}: not a file of this version; prepare the set again") from None


def begin(root: Path, source: dict[str, Any]) -> bool:
    """Mark a set as being made from `source`. Returns whether it is already finished.

    An unfinished set can be resumed with other settings, except those that its clouds depend on. InputError
    if the folder holds another set, or something else.
    """
    if (root / DATASET).exists() and not (root / UNFINISHED).exists():
        if read_dataset(root).source != source:
            raise InputError(f"{root}: holds another set, or one with other settings; give a new folder")
        return True
    if (root / UNFINISHED).exists():
        if _of_clouds(_json(root / UNFINISHED)) != _of_clouds(source):
            raise InputError(
                f"{root}: was started from other data or with other settings; remove it or give a new folder"
            )
    elif (root / "data").exists() or (root / "metadata").exists():
        raise InputError(f"{root}: holds data that was not made here; give a new folder")
    write_text(root / UNFINISHED, json.dumps(source, indent=1) + "\n")
    return False


def _of_clouds(source: dict[str, Any]) -> dict[str, Any]:
    """The part of `source` that the clouds depend on."""
    settings = source.get("settings", {})
    return {**source, "settings": [settings.get(key) for key in ("window", "voxel", "max_depth")]}


def write_checksums(root: Path, files: Iterable[Path]) -> str:
    """Write the checksums of `files` below `root`. Returns the checksum of the list."""
    lines = [f"{sha256(path)}  {path.relative_to(root).as_posix()}" for path in sorted(files)]
    write_text(root / CHECKSUMS, "\n".join(lines) + "\n")
    return sha256(root / CHECKSUMS)


def read_checksums(root: Path) -> dict[str, str]:
    """SHA-256 of each file by its path below `root`."""
    try:
        lines = (root / CHECKSUMS).read_text(encoding="utf-8").splitlines()
        return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError):
        raise InputError(f"{root / CHECKSUMS}: cannot be read; prepare the set again") from None


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"{path}: cannot be read; a set made by `diff2i2p prepare` has it") from None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{path}: broken; prepare the set again")
    return content
