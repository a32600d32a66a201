"""TUM RGB-D sequences: rgb.txt, depth.txt and groundtruth.txt, associated by time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from diff2i2p_core.datasets.sources import Source, SourceOptions
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import rectify_depth
from diff2i2p_core.geometry.timed_poses import TimedPoses
from diff2i2p_core.io.image_files import decode_depth, decode_image
from diff2i2p_core.io.rgbd_folder import Frame
from diff2i2p_core.typing import Array

APART = 20_000_000
"""Maximum nanoseconds between an image and its depth, and between the poses around it."""
_PER_METRE = 5000
_CAMERAS = {
    "1": Camera(
        640, 480, 517.3, 516.5, 318.6, 255.3, "plumb_bob", (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)
    ),
    "2": Camera(
        640, 480, 520.9, 521.0, 325.1, 249.7, "plumb_bob", (0.2312, -0.7849, -0.0033, -0.0001, 0.9172)
    ),
    "3": Camera(640, 480, 535.4, 539.2, 320.1, 247.6),
}
"""Calibrations by the data set's authors. Images of freiburg3 are already rectified."""


@dataclass(frozen=True)
class TumRecording:
    """The folder of one sequence, with lens distortion removed."""

    folder: Path
    scene: str
    lens: Camera
    sequence: str = "seq-01"
    subset: None = None

    @property
    def camera(self) -> Camera:
        return self.lens.undistorted()

    @property
    def numbers(self) -> list[int]:
        """Indices in rgb.txt of the images that have depth and a pose."""
        return _associated(self.folder).numbers

    def world_from_camera(self, index: int) -> Array:
        return _associated(self.folder).poses[index]

    def frame(self, index: int) -> Frame:
        frames = _associated(self.folder)
        image, depth = frames.images[index], frames.depths[index]
        return Frame(
            frames.numbers[index],
            np.asarray(self.lens.rectify(decode_image(_read(image), image)), np.uint8),
            rectify_depth(decode_depth(_read(depth), depth, per_metre=_PER_METRE), self.lens),
            frames.poses[index],
        )


def tum(source: Path, camera: str | None = None) -> list[TumRecording]:
    """The recording of a sequence's folder, or one recording for each such folder in `source`.

    `camera` is fx,fy,cx,cy of rectified images, for folders whose name does not say freiburg1, 2 or 3.
    """
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; give an unpacked TUM sequence, or a folder of them")
    inside = sorted(path for path in source.iterdir() if (path / "rgb.txt").is_file())
    sequences = [source] if (source / "rgb.txt").is_file() else inside
    if not sequences:
        raise InputError(f"{source}: holds no rgb.txt; give an unpacked TUM sequence, or a folder of them")
    return [_recording(folder, camera) for folder in sequences]


def _recording(folder: Path, camera: str | None) -> TumRecording:
    name = folder.resolve().name
    if camera is not None:
        first = _associated(folder).images[0]
        height, width = decode_image(_read(first), first).shape[:2]
        return TumRecording(folder, name, Camera.from_text(camera, width, height))
    known = re.search(r"(?:freiburg|fr)([123])", name)
    if known is None:
        raise InputError(
            f"{folder}: its name does not contain freiburg1, 2 or 3; give its camera as fx,fy,cx,cy"
        )
    return TumRecording(folder, name, _CAMERAS[known[1]])


@dataclass(frozen=True)
class _Associated:
    """n images that have depth and a pose."""

    numbers: list[int]
    images: list[Path]
    depths: list[Path]
    poses: list[Array]


@lru_cache(maxsize=8)
def _associated(folder: Path) -> _Associated:
    image_stamps, images = _listed(folder / "rgb.txt", 1)
    depth_stamps, depths = _listed(folder / "depth.txt", 1)
    truth_stamps, truth = _listed(folder / "groundtruth.txt", 7)
    try:
        values = np.array(truth, dtype=np.float64)
    except ValueError:
        values = np.full((1, 7), np.nan)
    if not np.isfinite(values).all() or (np.abs(np.linalg.norm(values[:, 3:], axis=1) - 1) > 0.1).any():
        raise InputError(
            f"{folder / 'groundtruth.txt'}: not lines `stamp tx ty tz qx qy qz qw`; fix the file"
        )
    poses = TimedPoses(np.array(truth_stamps), values[:, :3], values[:, 3:])
    frames = _Associated([], [], [], [])
    for number, (stamp, image) in enumerate(zip(image_stamps, images, strict=True)):
        pose = poses.at(stamp, 2 * APART)
        nearest = int(np.abs(np.array(depth_stamps) - stamp).argmin())
        if pose is not None and abs(depth_stamps[nearest] - stamp) <= APART:
            frames.numbers.append(number)
            frames.images.append(folder / image[0])
            frames.depths.append(folder / depths[nearest][0])
            frames.poses.append(pose)
    if not frames.numbers:
        raise InputError(
            f"{folder}: no image has depth and a pose within {APART / 1e6:g} ms; are the three lists of one "
            "recording?"
        )
    return frames


def _listed(path: Path, columns: int) -> tuple[list[int], list[list[str]]]:
    """The stamps in nanoseconds, and the values after them, from a TUM list."""
    stamps: list[int] = []
    rows = []
    for number, line in enumerate(_read(path).decode("utf-8", "replace").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        stamp, *words = line.split()
        try:
            stamps.append(round(float(stamp) * 1e9))
        except (ValueError, OverflowError):
            words = []
        if len(words) != columns:
            raise InputError(f"{path}, line {number}: not a stamp and {columns} values; get the file again")
        if len(stamps) > 1 and stamps[-1] <= stamps[-2]:
            raise InputError(f"{path}, line {number}: its stamp is not after the one before; sort the file")
        rows.append(words)
    if not rows:
        raise InputError(f"{path}: lists nothing; get the file again")
    return stamps, rows


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise InputError(f"{path}: cannot be read; a TUM sequence has it") from None


class TumOptions(SourceOptions):
    """Options of the source `tum`."""

    camera: str | None = None
    """fx,fy,cx,cy of rectified images not from freiburg1, 2 or 3."""


SOURCE = Source(
    summary="Sequences of the TUM RGB-D benchmark; each is a scene.",
    path_help="Unpacked sequence, or a folder of sequences.",
    recordings=lambda path, work, options: tum(path, options.camera),
    options=TumOptions,
)
