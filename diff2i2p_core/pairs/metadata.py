"""The benchmarks' lists of pairs (docs/method.md R1): the published pickles, or JSON Lines made from them.

root/metadata/train-full.pkl | .jsonl    (RGB-D Scenes V2: train.pkl | .jsonl)
root/data/<the files named in them>
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import is_rigid
from diff2i2p_core.io.files import write_text
from diff2i2p_core.io.safe_pickle import load_records

Layout = Literal["7scenes", "rgbd_scenes_v2", "kitti"]
"""The benchmarks. The files of `kitti` have the same names as those of 7-Scenes."""
SAME_VOXELS = 1.5
"""Distance in voxels within which a pixel and a point are the same, for overlaps and for training."""
_FILES = ("image_file", "depth_file", "cloud_file")


@dataclass(frozen=True)
class Entry:
    """One pair of the benchmark. Paths are relative to `root/data`."""

    scene: str
    image_file: str
    depth_file: str
    cloud_file: str
    overlap: float
    """Overlap of image and cloud, 0 to 1, as measured by the benchmark's authors."""
    camera_from_cloud: NDArray[np.float64]
    """(4, 4)."""
    image_id: str
    cloud_id: str

    @property
    def name(self) -> str:
        """scene/imageid_cloudid, the name of a pair in the released results."""
        return f"{self.scene}/{self.image_id}_{self.cloud_id}"


def read_metadata(root: Path | str, layout: Layout, subset: str) -> list[Entry]:
    """All pairs of a subset in the file's order. `<subset>.jsonl` is preferred to the pickle."""
    path = _metadata_file(Path(root), layout, subset)
    records = _read_lines(path) if path.suffix == ".jsonl" else load_records(path)
    if not records:
        raise InputError(f"{path}: holds no pairs; get the file again")
    return [_entry(record, layout, f"{path}: pair {number}") for number, record in enumerate(records)]


def convert_metadata(path: Path | str) -> Path:
    """Write ROOT/metadata/NAME.pkl of a published benchmark as JSON Lines beside it. Returns the new file.

    No code in the pickle is run. Reading JSON Lines needs no unpickling.
    """
    pickled = Path(path).resolve()
    if pickled.suffix != ".pkl" or pickled.parent.name != "metadata":
        raise InputError(f"{path}: not ROOT/metadata/NAME.pkl; give a metadata file of a benchmark")
    layout: Layout = "7scenes" if pickled.stem.endswith("-full") else "rgbd_scenes_v2"
    entries = [
        _entry(record, layout, f"{pickled}: pair {number}")
        for number, record in enumerate(load_records(pickled))
    ]
    return write_metadata(pickled.parent.parent, layout, pickled.stem.removesuffix("-full"), entries)


def write_metadata(root: Path | str, layout: Layout, subset: str, entries: Sequence[Entry]) -> Path:
    """Write the pairs of a subset as JSON Lines. Returns the file."""
    lines = [
        json.dumps(
            {
                "scene_name": entry.scene,
                **{key: getattr(entry, key) for key in _FILES},
                "overlap": entry.overlap,
                "cloud_to_image": entry.camera_from_cloud.tolist(),
            }
        )
        for entry in entries
    ]
    path = Path(root) / "metadata" / f"{_stem(layout, subset)}.jsonl"
    write_text(path, "\n".join(lines) + "\n")
    return path


def check_files(root: Path | str, entries: Sequence[Entry]) -> None:
    """InputError if files of the entries are missing. It names the first one and their number."""
    names = sorted({getattr(entry, key) for entry in entries for key in _FILES})
    missing = [name for name in names if not (Path(root) / "data" / name).is_file()]
    if missing:
        raise InputError(
            f"{Path(root) / 'data' / missing[0]}: no such file ({len(missing)} of {len(names)} files of the "
            "subset are missing); download the complete benchmark"
        )


def _stem(layout: Layout, subset: str) -> str:
    return subset if layout == "rgbd_scenes_v2" else f"{subset}-full"


def _metadata_file(root: Path, layout: Layout, subset: str) -> Path:
    folder = root / "metadata"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; the benchmark's root holds 'metadata' and 'data'")
    for suffix in (".jsonl", ".pkl"):
        path = folder / (_stem(layout, subset) + suffix)
        if path.is_file():
            return path
    names = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise InputError(
        f"{folder}: no {_stem(layout, subset)}.pkl or .jsonl for subset '{subset}'; the folder has {names}"
    )


def _read_lines(path: Path) -> list[Any]:
    records = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            records.append(json.loads(line))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: line {len(records) + 1} cannot be read ({error}); remove the file and convert again"
        ) from None
    return records


def _entry(record: Any, layout: Layout, where: str) -> Entry:
    """A validated entry from one record. `where` begins the error message."""
    keys = ("scene_name", *_FILES, "overlap", "cloud_to_image")
    if not isinstance(record, dict) or any(key not in record for key in keys):
        absent = [key for key in keys if not isinstance(record, dict) or key not in record]
        raise InputError(f"{where} lacks {', '.join(absent)}; give a metadata file of the benchmark")
    scene = record["scene_name"]
    if not isinstance(scene, str) or not scene or "/" in scene or scene.startswith("."):
        raise InputError(f"{where}: scene_name {str(scene)[:40]!r} is not a plain name; fix the file")
    for key in _FILES:
        _check_path(record[key], f"{where}: {key}")
    overlap = record["overlap"]
    if isinstance(overlap, bool) or not isinstance(overlap, (int, float)) or not 0 <= overlap <= 1:
        raise InputError(f"{where}: overlap {str(overlap)[:40]} is not a number from 0 to 1; fix the file")
    try:
        camera_from_cloud = np.array(record["cloud_to_image"], dtype=np.float64)
    except (TypeError, ValueError):
        camera_from_cloud = np.empty(0)
    if not is_rigid(camera_from_cloud):
        raise InputError(f"{where}: cloud_to_image is not a finite rigid 4x4 transform; fix the file")
    image_file, depth_file, cloud_file = (record[key] for key in _FILES)
    return Entry(
        scene=scene,
        image_file=image_file,
        depth_file=depth_file,
        cloud_file=cloud_file,
        overlap=float(overlap),
        camera_from_cloud=camera_from_cloud,
        image_id=file_id(image_file, layout, f"{where}: image_file"),
        cloud_id=file_id(cloud_file, layout, f"{where}: cloud_file"),
    )


def _check_path(name: object, where: str) -> None:
    """Refuse anything but a relative path below the data folder."""
    if not isinstance(name, str) or not name or "\0" in name or "\\" in name:
        raise InputError(f"{where} {str(name)[:60]!r} is not a path; fix the file")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"{where} '{name}' leaves the data folder; fix the file")


def file_id(name: str, layout: Layout, where: str = "file") -> str:
    """The short name of an image or a cloud in results (docs/method.md R1). It has no '_'.

    7scenes: `chess/seq-11/color_019.png` is 11-019. rgbd_scenes_v2: `scene/color_00019.png` is 00019.
    """
    path = PurePosixPath(name)
    fields = path.name.split(".")[0].split("_")
    if layout != "rgbd_scenes_v2":
        sequence = path.parts[1].rpartition("-")[2] if len(path.parts) == 3 else ""
        short = f"{sequence}-{fields[-1]}" if sequence and fields[-1] and "_" not in sequence else ""
        shape = "scene/seq-NN/name_NNN.ext"
    else:
        short = fields[1] if len(fields) > 1 else ""
        shape = "scene/name_NNN.ext"
    if not short:
        raise InputError(f"{where} '{name}' does not have the form {shape} of {layout}; check `layout`")
    return short
