"""Point clouds from files: ply, pcd, las, laz, npz (points, colors) and npy."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.io.pcd import read_pcd
from diff2i2p_core.io.ply import read_ply

SUFFIXES = (".ply", ".pcd", ".las", ".laz", ".npz", ".npy")
_MAX_COORDINATE = 50_000.0
"""Metres from the origin beyond which float32 is coarser than a few millimetres."""
_CHUNK = 1_000_000


@dataclass(frozen=True)
class Cloud:
    points: NDArray[np.float32]
    """(N, 3) metres, finite, N > 0."""
    colors: NDArray[np.uint8] | None
    """(N, 3) RGB."""
    num_dropped: int = 0
    """Points that were NaN or infinite (the invalid points of organised clouds)."""


def read_cloud(path: Path | str) -> Cloud:
    """Read a cloud by its suffix. `InputError` where the file is missing, broken, or has no finite point."""
    path = Path(path)
    readers = {
        ".ply": _structured,
        ".pcd": _structured,
        ".las": _las,
        ".laz": _las,
        ".npz": _numpy,
        ".npy": _numpy,
    }
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: unknown kind of cloud '{path.suffix}'; give one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a point cloud")
    try:
        points, colors = readers[path.suffix.lower()](path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); give a whole cloud file"
        ) from None
    return make_cloud(points, colors, str(path))


def is_colored(source: Path | str) -> bool:
    """Whether a cloud file, or a folder of posed RGB-D frames, gives points with colours."""
    return Path(source).is_dir() or read_cloud(source).colors is not None


def make_cloud(points: NDArray[Any], colors: NDArray[Any] | None, name: str) -> Cloud:
    """Check arrays and drop points that are not finite; `name` is what error messages call the cloud."""
    if points.ndim != 2 or points.shape[1] != 3:
        raise InputError(f"{name}: points have shape {points.shape}, expected (N, 3)")
    if colors is not None and colors.shape != points.shape:
        raise InputError(f"{name}: colors have shape {colors.shape}, expected {points.shape} like the points")
    if len(points) == 0:
        raise InputError(f"{name}: holds no points; give a cloud with points")
    finite = np.isfinite(points).all(axis=1)
    if not finite.any():
        raise InputError(
            f"{name}: all {len(points)} points are NaN or infinite; give a cloud with valid points"
        )
    if not finite.all():
        points, colors = points[finite], None if colors is None else colors[finite]
    reach = max(float(points.max()), -float(points.min()))
    if reach > _MAX_COORDINATE:
        raise InputError(
            f"{name}: coordinates reach {reach:.0f}, too far for a map in metres; subtract an origin "
            "(and see that the unit is the metre)"
        )
    return Cloud(
        np.ascontiguousarray(points, np.float32),
        None if colors is None else _to_uint8(colors),
        int(len(finite) - finite.sum()),
    )


def _to_uint8(colors: NDArray[Any]) -> NDArray[np.uint8]:
    """RGB as uint8: floats are taken as 0-1 (0-255 where any is above 1), uint16 as full range."""
    if colors.dtype == np.uint8:
        return np.ascontiguousarray(colors)
    top = np.nanmax(colors, initial=0)
    if np.issubdtype(colors.dtype, np.floating):
        scale = 255.0 if top <= 1 else 1.0
    else:
        scale = 1 / 257 if top > 255 else 1.0  # LAS says 16 bit, many writers use 8
    result = np.empty(colors.shape, np.uint8)
    for rows in _chunks(len(colors)):
        result[rows] = np.clip(np.rint(np.nan_to_num(colors[rows].astype(np.float64) * scale)), 0, 255)
    return result


def _chunks(count: int) -> list[slice]:
    """Rows, some at a time, for work that makes copies."""
    return [slice(first, min(first + _CHUNK, count)) for first in range(0, count, _CHUNK)]


def _structured(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    table = read_ply(path) if path.suffix.lower() == ".ply" else read_pcd(path)
    names = table.dtype.names or ()
    if not {"x", "y", "z"} <= set(names):
        raise InputError(f"{path}: its points have no x, y, z (only {', '.join(names)}); give a point cloud")
    single = all(table.dtype[name].kind == "f" and table.dtype[name].itemsize == 4 for name in "xyz")
    points = np.empty((len(table), 3), np.float32 if single else np.float64)
    for axis, name in enumerate("xyz"):
        points[:, axis] = table[name]
    for triple in (
        ("red", "green", "blue"),
        ("diffuse_red", "diffuse_green", "diffuse_blue"),
        ("r", "g", "b"),
    ):
        if set(triple) <= set(names):
            return points, np.stack([table[name] for name in triple], axis=1)
    for name in ("rgb", "rgba"):
        if name in names and table[name].dtype.itemsize == 4:
            packed = np.ascontiguousarray(table[name]).view("<u4")
            return points, np.stack([(packed >> shift) & 255 for shift in (16, 8, 0)], axis=1).astype(
                np.uint8
            )
    return points, None


def _las(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    import laspy

    _check_las_header(path)
    rgb = ("red", "green", "blue")
    try:
        with laspy.open(path) as reader:
            count, at = reader.header.point_count, 0
            has_color = set(rgb) <= set(reader.header.point_format.dimension_names)
            points = np.empty((count, 3), np.float32)
            colors = np.empty((count, 3), np.uint16) if has_color else None
            for part in reader.chunk_iterator(_CHUNK):
                rows = slice(at, at + len(part))
                for axis, name in enumerate("xyz"):
                    points[rows, axis] = getattr(part, name)
                    if colors is not None:
                        colors[rows, axis] = part[rgb[axis]]
                at += len(part)
        if at < count:
            raise ValueError(f"{count} points announced, {at} there")
    except OSError:
        raise
    except Exception as error:  # laspy and its decompressors raise many kinds on broken files
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a whole LAS/LAZ file ({what}); copy it again") from None
    return points, colors if colors is not None and colors.any() else None


def _check_las_header(path: Path) -> None:
    """`InputError` where the counts in a LAS header cannot be true: laspy would follow them for hours."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(375)
    if len(header) < 227 or header[:4] != b"LASF":
        raise InputError(f"{path}: not a LAS/LAZ file (no header); give a whole .las or .laz cloud")
    header_size, data_offset, num_records = struct.unpack_from("<HII", header, 94)
    point_size, count = struct.unpack_from("<HI", header, 105)
    num_extended = 0
    if header[25] >= 4 and len(header) == 375:
        num_extended, count = struct.unpack_from("<IQ", header, 243)
    compression = 1 if path.suffix.lower() == ".las" else 200
    if (
        data_offset > size
        or header_size + 54 * num_records > data_offset
        or 60 * num_extended > size
        or count * point_size > compression * size
    ):
        raise InputError(f"{path}: truncated, or its header is damaged; copy it again")


def _numpy(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                points, colors = loaded, None
            else:
                points, colors = loaded["points"], loaded.get("colors")
    except KeyError:
        raise InputError(
            f"{path}: has no array 'points'; save the cloud as points (N, 3) and colors (N, 3)"
        ) from None
    except OSError:
        raise
    except Exception:  # numpy, zipfile and zlib raise a dozen kinds on broken files
        raise InputError(f"{path}: not a whole NumPy file of numbers; save it again") from None
    for array in (points, colors):
        if array is not None and array.dtype.kind not in "fiu":
            raise InputError(f"{path}: holds {array.dtype} instead of numbers; save points as floats")
    return points, colors
