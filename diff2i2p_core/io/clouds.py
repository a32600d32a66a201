"""Point clouds from files, and the checks that every cloud passes before it is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.chunks import chunks
from diff2i2p_core.io.e57 import read_e57
from diff2i2p_core.io.las import read_las
from diff2i2p_core.io.meshes import read_mesh
from diff2i2p_core.io.pcd import read_pcd
from diff2i2p_core.io.ply import read_ply
from diff2i2p_core.io.point_attributes import telling
from diff2i2p_core.io.raw_cloud import RawCloud, from_columns, middle
from diff2i2p_core.io.text_cloud import read_text_cloud
from diff2i2p_core.typing import Array

MAX_COORDINATE = 50_000.0
"""Metres from the origin. Beyond this, float32 is coarser than a few millimetres."""
STRAY, STRAY_FACTOR = 1_000.0, 100.0
"""A point this many metres from the middle of a cloud, and this many times as far from it as nine tenths of
the points, is no measurement."""
_COARSE = 0.005
_TOO_COARSE = 0.05
"""Metres. Coordinates that are stored more coarsely than this are mentioned, or refused."""
_SAMPLES = 100_000

Origin = Array | Literal["auto"] | None
"""Coordinates (3,) that become zero, `auto` for round ones near the cloud, or None for no change."""
Note = Callable[[str], None]


class PlacedCloud(NamedTuple):
    """A cloud from a file."""

    cloud: PointCloud
    origin: Array | None
    """(3,) what was subtracted from its coordinates; None if that was not asked for."""
    scanners: Array
    """(S, 3) where the scanner stood, in the cloud's frame; S is 0 if the file does not say."""


def read_cloud(path: Path | str, note: Note = lambda line: None) -> PointCloud:
    """Read a cloud in the format given by its suffix.

    `note` gets lines about points that are left out, and about colours that are not understood.
    InputError if the file is missing, broken, has no finite point, or is too far from its origin.
    """
    return read_cloud_at(path, None, note)[0]


def read_cloud_at(path: Path | str, origin: Origin, note: Note = lambda line: None) -> PlacedCloud:
    """Read a georeferenced cloud: see `read_cloud`."""
    path = Path(path)
    if path.suffix.lower() not in READERS:
        raise InputError(f"{path}: unknown kind of cloud '{path.suffix}'; give one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a point cloud")
    try:
        raw = READERS[path.suffix.lower()](path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); give a complete cloud file"
        ) from None
    for words in raw.notes:
        note(f"{path}: {words}")
    return _placed(raw, origin, str(path), note)


def _placed(raw: RawCloud, origin: Origin, name: str, note: Note) -> PlacedCloud:
    """The checked cloud of a file, with its origin subtracted."""
    centre = middle(raw.points)
    subtracted = np.round(raw.base + centre, -2) if isinstance(origin, str) else origin
    if subtracted is not None:
        note(f"{name}: the origin of the map is ({', '.join(f'{value:.10g}' for value in subtracted)})")
        coarse = float(np.spacing(np.float32(np.abs(centre).max())))
        words = f"{name}: stored as 32-bit floats, its coordinates are rounded to {coarse * 100:.2g} cm"
        if coarse > _TOO_COARSE:
            raise InputError(f"{words}; export it with doubles, or with an origin already subtracted")
        if coarse > _COARSE:
            note(words)
    points = raw.points
    shift = raw.base if subtracted is None else raw.base - subtracted
    if shift.any():
        points = np.empty_like(raw.points)
        for rows in chunks(len(points)):
            points[rows] = raw.points[rows] + shift
    colors, intensity, left_out = telling(raw.colors, raw.intensity)
    for words in left_out:
        note(f"{name}: {words}")
    fix = "subtract an origin (`origin`, such as auto)"
    if subtracted is not None:
        fix = "give an origin near the cloud, or auto (`origin`)"
    cloud = usable(PointCloud(points, colors, intensity), name, note, fix)
    return PlacedCloud(cloud, subtracted, raw.scanners if subtracted is None else raw.scanners - subtracted)


def usable(
    cloud: PointCloud, name: str, note: Note = lambda line: None, fix: str = "subtract an origin"
) -> PointCloud:
    """The cloud without points that are not finite, and without a few that are absurdly far from the others.

    `name` is its name in messages; `note` gets a line about points that are left out. InputError if no point
    is left, or if the points are too far from the frame's origin; `fix` says how to bring them nearer.
    """
    if len(cloud) == 0:
        raise InputError(f"{name}: holds no points; give a cloud with points")
    if not np.isfinite(cloud.points).all():
        finite = np.isfinite(cloud.points).all(axis=1)
        if not finite.any():
            raise InputError(
                f"{name}: all {len(cloud)} points are NaN or infinite; give a cloud with valid points"
            )
        note(f"{name}: {_left_out(len(cloud) - int(finite.sum()), 'NaN or infinite')}")
        cloud = cloud.take(finite)
    distances = _distances(cloud.points)
    limit = max(STRAY, STRAY_FACTOR * float(np.percentile(distances[:: max(1, len(cloud) // _SAMPLES)], 90)))
    stray = distances > limit
    if stray.any():
        note(f"{name}: {_left_out(int(stray.sum()), f'over {limit:.0f} m away from the others')}")
        cloud = cloud.take(~stray)
    check_reach(cloud.points, name, fix)
    return cloud


def _left_out(count: int, what: str) -> str:
    """That so many points are `what`, and not used."""
    subject, verb = ("1 point", "is") if count == 1 else (f"{count} points", "are")
    return f"{subject} {verb} {what} and {verb} left out"


def check_reach(points: NDArray[Any], name: str, fix: str = "subtract an origin") -> None:
    """InputError if points (N, 3) are too far from the frame's origin; `fix` is what to do about it."""
    low = np.array([points[:, axis].min() for axis in range(3)])
    high = np.array([points[:, axis].max() for axis in range(3)])
    if (size := float((high - low).max())) > MAX_COORDINATE:
        raise InputError(f"{name}: is {size:.0f} m wide, too much for a map in metres; scale it to metres")
    if (reach := float(max(high.max(), -low.min()))) > MAX_COORDINATE:
        raise InputError(
            f"{name}: coordinates reach {reach:.0f}, too far for a map in metres; {fix}, and check that the "
            "unit is metres"
        )


def _distances(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) the largest coordinate of each point, seen from the middle of all."""
    centre = middle(points).astype(np.float32)
    distances: NDArray[np.float32] = np.abs(points[:, 0] - centre[0])
    for axis in (1, 2):
        np.maximum(distances, np.abs(points[:, axis] - centre[axis]), out=distances)
    return distances


def _ply(path: Path) -> RawCloud:
    return from_columns(read_ply(path), path)


def _pcd(path: Path) -> RawCloud:
    return from_columns(read_pcd(path), path)


def _numpy(path: Path) -> RawCloud:
    """Arrays points, colors and intensity of an npz file, or the points of an npy file."""
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = {"points": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except OSError:
        raise
    except Exception:  # numpy, zipfile and zlib raise a dozen kinds on broken files
        raise InputError(f"{path}: not a complete NumPy file of numbers; save it again") from None
    points = arrays.pop("points", None)
    if points is None:
        raise InputError(f"{path}: has no array 'points'; save the cloud as points (N, 3) and colors (N, 3)")
    if points.ndim != 2 or points.shape[1] != 3:
        raise InputError(f"{path}: points have shape {points.shape}, expected (N, 3)")
    for name, shape in (("points", points.shape), ("colors", points.shape), ("intensity", points.shape[:1])):
        values = arrays.get(name, points)
        if values.dtype.kind not in "fiu":
            raise InputError(f"{path}: {name} hold {values.dtype} instead of numbers; save them as floats")
        if name in arrays and values.shape != shape:
            raise InputError(f"{path}: {name} have shape {values.shape}, expected {shape} like the points")
    if "colors" in arrays:
        arrays = {"rgb": arrays.pop("colors"), **arrays}
    attributes = {
        name: values
        for name, values in arrays.items()
        if values.shape[:1] == points.shape[:1] and values.dtype.kind in "fiu"
    }
    return from_columns({**dict(zip("xyz", points.T, strict=True)), **attributes}, path)


READERS: dict[str, Callable[[Path], RawCloud]] = {
    ".ply": _ply,
    ".pcd": _pcd,
    ".las": read_las,
    ".laz": read_las,
    ".e57": read_e57,
    ".xyz": read_text_cloud,
    ".txt": read_text_cloud,
    ".pts": read_text_cloud,
    ".asc": read_text_cloud,
    ".csv": read_text_cloud,
    ".glb": read_mesh,
    ".gltf": read_mesh,
    ".obj": read_mesh,
    ".npz": _numpy,
    ".npy": _numpy,
}
"""The formats by suffix."""
SUFFIXES = tuple(READERS)
