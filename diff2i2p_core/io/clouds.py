"""Point clouds from files: ply, pcd, las, laz, npz (points, colors, intensity) and npy."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.pcd import read_pcd
from diff2i2p_core.io.ply import read_ply

SUFFIXES = (".ply", ".pcd", ".las", ".laz", ".npz", ".npy")
_MAX_COORDINATE = 50_000.0
"""Metres from the origin. Beyond this, float32 is coarser than a few millimetres."""
_CHUNK = 1_000_000
_Raw = tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]
"""Points, colours and intensity as stored in a file."""
INTENSITY_NAMES = ("intensity", "Intensity", "reflectivity", "signal", "scalar_Intensity", "i")
"""Names used by lidar drivers and writers; the first match is taken."""
_INTENSITY_PERCENTILES = (1, 99)
"""Percentiles that become 0 and 255, because a few points on reflectors are far brighter than all others."""


def read_cloud(path: Path | str, note: Callable[[str], None] = lambda line: None) -> PointCloud:
    """Read a cloud in the format given by its suffix. `note` gets a line about points that are left out.

    InputError if the file is missing, broken, or has no finite point.
    """
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
        raw = readers[path.suffix.lower()](path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); give a complete cloud file"
        ) from None
    cloud = make_cloud(*raw, name=str(path))
    if dropped := len(raw[0]) - len(cloud):
        note(f"{path}: {dropped} points are NaN or infinite and are left out")
    return cloud


def make_cloud(
    points: NDArray[Any],
    colors: NDArray[Any] | None = None,
    intensity: NDArray[Any] | None = None,
    *,
    name: str,
) -> PointCloud:
    """A cloud from arrays of any numeric type, without the points that are not finite.

    Args:
        points: (N, 3) metres.
        colors: (N, 3) RGB. Floats are 0-1, or 0-255 if any is above 1; 16-bit integers use their full range.
        intensity: (N,) in any unit. Its 1st to 99th percentiles are scaled to 0-255.
        name: the cloud's name in error messages.
    """
    if points.ndim != 2 or points.shape[1] != 3:
        raise InputError(f"{name}: points have shape {points.shape}, expected (N, 3)")
    if colors is not None and colors.shape != points.shape:
        raise InputError(f"{name}: colors have shape {colors.shape}, expected {points.shape} like the points")
    if intensity is not None and intensity.shape != points.shape[:1]:
        raise InputError(f"{name}: intensity has shape {intensity.shape}, expected {points.shape[:1]}")
    with np.errstate(over="ignore"):  # a float64 too large for float32 becomes infinite and is left out
        single = np.ascontiguousarray(points, np.float32)
    return usable(
        PointCloud(
            single,
            None if colors is None else _to_uint8(colors),
            None if intensity is None else scaled_intensity(intensity),
        ),
        name,
    )


def usable(cloud: PointCloud, name: str) -> PointCloud:
    """The cloud without points that are not finite. `name` is its name in error messages.

    InputError if no point is left, or if points are too far from the origin.
    """
    if len(cloud) == 0:
        raise InputError(f"{name}: holds no points; give a cloud with points")
    finite = np.isfinite(cloud.points).all(axis=1)
    if not finite.any():
        raise InputError(
            f"{name}: all {len(cloud)} points are NaN or infinite; give a cloud with valid points"
        )
    if not finite.all():
        cloud = cloud.take(finite)
    reach = max(float(cloud.points.max()), -float(cloud.points.min()))
    if reach > _MAX_COORDINATE:
        raise InputError(
            f"{name}: coordinates reach {reach:.0f}, too far for a map in metres; subtract an origin "
            "(and check that the unit is metres)"
        )
    return cloud


def scaled_intensity(values: NDArray[Any]) -> NDArray[np.uint8] | None:
    """(N,) in any unit, scaled to 0-255 by robust limits. None if all values are equal (no data)."""
    if len(values) == 0:
        return None
    known = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
    low, high = np.percentile(known, _INTENSITY_PERCENTILES)
    if high <= low:
        low, high = known.min(), known.max()
    if high <= low:
        return None
    colors: NDArray[np.uint8] = np.rint(np.clip((known - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return colors


def _to_uint8(colors: NDArray[Any]) -> NDArray[np.uint8]:
    """RGB as uint8. Floats are taken as 0-1 (0-255 if any is above 1), uint16 as full range."""
    if colors.dtype == np.uint8:
        return np.ascontiguousarray(colors)
    top = np.nanmax(colors, initial=0)
    if np.issubdtype(colors.dtype, np.floating):
        scale = 255.0 if top <= 1 else 1.0
    else:
        scale = 1 / 257 if top > 255 else 1.0  # LAS specifies 16 bits, but many writers use 8
    result = np.empty(colors.shape, np.uint8)
    for rows in _chunks(len(colors)):
        result[rows] = np.clip(np.rint(np.nan_to_num(colors[rows].astype(np.float64) * scale)), 0, 255)
    return result


def _chunks(count: int) -> list[slice]:
    """Slices of rows, for work that makes copies."""
    return [slice(first, min(first + _CHUNK, count)) for first in range(0, count, _CHUNK)]


def _structured(path: Path) -> _Raw:
    table = read_ply(path) if path.suffix.lower() == ".ply" else read_pcd(path)
    names = table.dtype.names or ()
    if not {"x", "y", "z"} <= set(names):
        raise InputError(f"{path}: its points have no x, y, z (only {', '.join(names)}); give a point cloud")
    single = all(table.dtype[name].kind == "f" and table.dtype[name].itemsize == 4 for name in "xyz")
    points = np.empty((len(table), 3), np.float32 if single else np.float64)
    for axis, name in enumerate("xyz"):
        points[:, axis] = table[name]
    intensity = next((table[name] for name in INTENSITY_NAMES if name in names), None)
    return points, _colors(table), intensity


def _colors(table: NDArray[Any]) -> NDArray[Any] | None:
    """(N, 3) colours of a structured array, if it has them under one of the usual names."""
    names = set(table.dtype.names or ())
    for triple in (
        ("red", "green", "blue"),
        ("diffuse_red", "diffuse_green", "diffuse_blue"),
        ("r", "g", "b"),
    ):
        if set(triple) <= names:
            return np.stack([table[name] for name in triple], axis=1)
    for name in ("rgb", "rgba"):
        if name in names and table[name].dtype.itemsize == 4:
            packed = np.ascontiguousarray(table[name]).view("<u4")
            return np.stack([(packed >> shift) & 255 for shift in (16, 8, 0)], axis=1).astype(np.uint8)
    return None


def _las(path: Path) -> _Raw:
    import laspy

    _check_las_header(path)
    rgb = ("red", "green", "blue")
    try:
        with laspy.open(path) as reader:
            count, at = reader.header.point_count, 0
            has_color = set(rgb) <= set(reader.header.point_format.dimension_names)
            points = np.empty((count, 3), np.float32)
            colors = np.empty((count, 3), np.uint16) if has_color else None
            intensity = np.empty(count, np.uint16)
            for part in reader.chunk_iterator(_CHUNK):
                rows = slice(at, at + len(part))
                for axis, name in enumerate("xyz"):
                    points[rows, axis] = getattr(part, name)
                    if colors is not None:
                        colors[rows, axis] = part[rgb[axis]]
                intensity[rows] = part["intensity"]
                at += len(part)
        if at < count:
            raise ValueError(f"header says {count} points, file has {at}")
    except OSError:
        raise
    except Exception as error:  # laspy and its decompressors raise many kinds on broken files
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a complete LAS/LAZ file ({what}); copy it again") from None
    return points, colors if colors is not None and colors.any() else None, intensity


def _check_las_header(path: Path) -> None:
    """InputError if the counts in a LAS header are impossible: laspy would run for hours."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(375)
    if len(header) < 227 or header[:4] != b"LASF":
        raise InputError(f"{path}: not a LAS/LAZ file (no header); give a complete .las or .laz cloud")
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


def _numpy(path: Path) -> _Raw:
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                points, colors, intensity = loaded, None, None
            else:
                points, colors, intensity = (
                    loaded["points"],
                    loaded.get("colors"),
                    loaded.get("intensity"),
                )
    except KeyError:
        raise InputError(
            f"{path}: has no array 'points'; save the cloud as points (N, 3) and colors (N, 3)"
        ) from None
    except OSError:
        raise
    except Exception:  # numpy, zipfile and zlib raise a dozen kinds on broken files
        raise InputError(f"{path}: not a complete NumPy file of numbers; save it again") from None
    for array in (points, colors, intensity):
        if array is not None and array.dtype.kind not in "fiu":
            raise InputError(f"{path}: holds {array.dtype} instead of numbers; save points as floats")
    return points, colors, intensity
