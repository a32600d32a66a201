"""Registrations on disk, one .npz per pair, in our format or that of the released test.py. No pickles."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.evaluation.registration import Registration
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.io.files import atomic_path, write_text
from diff2i2p_core.settings import Section

FORMAT = "diff2i2p-registration-1"
INFO = "cache.json"
OPTIONAL = ("jpeg", "seconds", "peak_mib")
"""Values that a file may lack."""
RELEASED_SIZE = (640, 480)
RELEASED_VOXEL = 0.025


class CacheInfo(Section):
    """How a folder of registrations was made; stored as `cache.json` in it."""

    weights: str
    weights_id: str
    """SHA-256."""
    model: str
    benchmark: str
    """7scenes, rgbd_scenes_v2, ..."""
    subset: str
    pairs: int
    """Number of pairs in the subset. If there are fewer files, the test run is unfinished."""
    query_depth: bool | None = None
    """Whether the query's depth is an input of the network; None if nobody recorded it."""
    prepared: bool = False
    """Whether `diff2i2p prepare` made the pairs. They are then not those of the papers."""
    format: Literal["diff2i2p", "released"] = "diff2i2p"
    """The layout of the files: ours, or that of the released test.py."""
    config: dict[str, Any] | None = None
    """The network's configuration, if the weights do not record it (`.pth`)."""


def write_info(folder: Path, info: CacheInfo) -> None:
    write_text(folder / INFO, info.model_dump_json(indent=1) + "\n")


def read_info(folder: Path) -> CacheInfo | None:
    """None if the folder has no such file, like those of the released code."""
    path = folder / INFO
    if not path.exists():
        return None
    try:
        return CacheInfo.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        raise InputError(
            f"{path}: not written by `diff2i2p test`; run the test again into another folder"
        ) from None


def registration_files(folder: Path) -> list[Path]:
    """folder/SCENE/PAIR.npz, sorted, without files that are being written."""
    files = sorted(path for path in folder.glob("*/*.npz") if not path.name.startswith("."))
    if not files:
        what = "holds no SCENE/PAIR.npz" if folder.is_dir() else "no such folder"
        caches = ", ".join(sorted(str(path.parent) for path in folder.glob(f"*/{INFO}")))
        raise InputError(f"{folder}: {what}; give {caches or 'the folder that `diff2i2p test` wrote'}")
    return files


def registration_path(folder: Path, name: str) -> Path:
    """The file of the pair `name`, "scene/imageid_cloudid"."""
    return folder / f"{name}.npz"


def write_registration(registration: Registration, path: Path) -> None:
    """Write one .npz for `read_registration`."""
    values = {f.name: getattr(registration, f.name) for f in fields(Registration)}
    camera = registration.camera
    values["camera"] = (camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy)
    arrays: dict[str, Any] = {name: np.asarray(v) for name, v in values.items() if v is not None}
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, format=np.asarray(FORMAT), **arrays)


def read_registration(path: Path) -> Registration:
    """One registration from a file in our format or that of the released code; the content tells which."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if "img_corr_points" in arrays:
            registration = _released(arrays, f"{path.parent.name}/{path.stem}")
        elif str(arrays.get("format")) == FORMAT:
            registration = _ours(arrays)
        else:
            raise ValueError("unknown format")
        r = registration
        columns = (r.pixels, r.points, r.point_indices, r.pixel_points, r.scores)
        if len({len(column) for column in columns}) > 1:
            raise ValueError("its lists of matches differ in length")
        return registration
    except (OSError, ValueError, KeyError, EOFError, InputError, zipfile.BadZipFile, zlib.error) as error:
        words = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        what = " ".join(words.split())
        raise InputError(f"{path}: not a registration ({what}); delete it and run the test again") from None


def _ours(arrays: Mapping[str, NDArray[Any]]) -> Registration:
    values: dict[str, Any] = {
        f.name: arrays.get(f.name) if f.name in OPTIONAL else arrays[f.name] for f in fields(Registration)
    }
    width, height, *intrinsics = arrays["camera"].tolist()
    values["camera"] = Camera(int(width), int(height), *intrinsics)
    scalars = (("name", str), ("overlap", float), ("voxel", float), ("seconds", float), ("peak_mib", float))
    for name, kind in scalars:
        if values[name] is not None:
            values[name] = kind(arrays[name])
    return Registration(**values)


def _released(arrays: Mapping[str, NDArray[Any]], name: str) -> Registration:
    """docs/method.md R29: pixels are (row, column), arrays of one element are scalars. The file has the tuned
    cloud, so the original positions of matched points are unknown."""
    cloud = arrays["pcd_points"].astype(np.float32)
    points = arrays["pcd_corr_points"].astype(np.float32).reshape(-1, 3)
    row_of = {point.tobytes(): row for row, point in enumerate(cloud)}
    indices = np.array([row_of.get(point.tobytes(), -1) for point in points], np.int64)
    untuned = cloud.copy()
    untuned[indices[indices >= 0]] = np.nan

    def flat(key: str, kind: type = np.int64) -> NDArray[Any]:
        return arrays[key].astype(kind).reshape(-1)

    return Registration(
        name=name,
        camera=Camera.from_matrix(arrays["intrinsics"], *RELEASED_SIZE),
        camera_from_cloud=arrays["transform"].astype(np.float64),
        overlap=float(arrays["overlap"]),
        voxel=RELEASED_VOXEL,
        cloud=untuned,
        pixels=arrays["img_corr_pixels"].astype(np.float32).reshape(-1, 2)[:, ::-1],
        points=points,
        point_indices=indices,
        pixel_points=arrays["img_corr_points"].astype(np.float32).reshape(-1, 3),
        scores=flat("corr_scores", np.float32),
        image_nodes=flat("img_node_corr_indices"),
        point_nodes=flat("pcd_node_corr_indices"),
        true_image_nodes=flat("gt_img_node_corr_indices"),
        true_point_nodes=flat("gt_pcd_node_corr_indices"),
        true_overlaps=flat("gt_node_corr_min_overlaps", np.float32),
        jpeg=None,
    )
