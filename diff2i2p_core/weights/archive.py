"""Published weights inside a zip archive. Nothing in the archive is run, and its paths are not used."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from diff2i2p_core.errors import InputError
from diff2i2p_core.models.released import ReleasedDataset
from diff2i2p_core.weights.published import PublishedWeights

MAX_BYTES = 1 << 30
"""No published checkpoint is larger, not even with the state of its optimizer."""

_WORDS: dict[ReleasedDataset, str] = {"7scenes": "7scenes", "rgbd_scenes_v2": "rgbd"}
"""A part of the path of a benchmark's checkpoint."""


def unpack(file: Path, weights: PublishedWeights, member: str | None = None) -> None:
    """If `file` is a zip archive of checkpoints, replace it by the one in it for `weights`: `member`, or the
    only one, or the only one with the name of the file or of the benchmark.

    A `.pth` is a zip archive, too: of tensors. InputError if there is no such checkpoint, or if several could
    be meant; then the archive is kept beside the weights, so that it need not be downloaded again.
    """
    if not zipfile.is_zipfile(file):
        return  # a checkpoint of torch before 1.6, or not one: reading its tensors tells
    try:
        with zipfile.ZipFile(file) as archive:
            checkpoints = _checkpoints(archive)
            if checkpoints is None:
                return
            info = _choose(file, checkpoints, weights, member)
            _take(archive, info, file)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        file.unlink()
        raise InputError(
            f"{weights.name}: the archive is damaged, or packed in an unusual way ({error}); get it again, "
            "or unpack it and give the file"
        ) from None


def _checkpoints(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo] | None:
    """The checkpoints in an archive; None if it is a checkpoint itself."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if any(PurePosixPath(info.filename).name == "data.pkl" for info in infos):
        return None
    return [
        info
        for info in infos
        if info.filename.endswith(".pth") and not PurePosixPath(info.filename).name.startswith(".")
    ]


def _choose(
    file: Path, checkpoints: list[zipfile.ZipInfo], weights: PublishedWeights, member: str | None
) -> zipfile.ZipInfo:
    names = ", ".join(info.filename for info in checkpoints)
    if not checkpoints:
        file.unlink()
        raise InputError(f"{weights.name}: the archive holds no .pth; give the checkpoint, or its archive")
    if member is not None:
        fits = [i for i in checkpoints if member in (i.filename, PurePosixPath(i.filename).name)]
    else:
        by_file = [i for i in checkpoints if PurePosixPath(i.filename).name in weights.files]
        by_name = [i for i in checkpoints if _WORDS[weights.dataset] in i.filename.lower()]
        fits = next((group for group in (by_file, by_name, checkpoints) if len(group) == 1), [])
    if len(fits) == 1:
        return fits[0]
    kept = file.with_name(f"{weights.name}.zip")
    file.replace(kept)
    raise InputError(f"{kept}: holds {names}; give this file, and the one of them with `member`")


def _take(archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: Path) -> None:
    """Put the content of one file of the archive in the archive's place."""
    if info.file_size > MAX_BYTES:
        file.unlink()
        raise InputError(f"{info.filename}: {info.file_size / 1e9:.1f} GB unpacked, too large for weights")
    taken = file.with_name(f"{file.name}.member")
    try:
        # The reader stops at the stated size and compares the checksum.
        with archive.open(info) as source, taken.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        taken.replace(file)
    finally:
        taken.unlink(missing_ok=True)
