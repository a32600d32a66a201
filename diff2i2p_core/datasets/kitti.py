"""KITTI odometry as downloaded: sequences/NN/{calib.txt, image_2, velodyne} and poses/NN.txt."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from diff2i2p_core.datasets.recording import Subset
from diff2i2p_core.datasets.settings import PreparationSettings
from diff2i2p_core.datasets.sources import Source
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import z_buffer
from diff2i2p_core.geometry.se3 import compose, invert, is_rigid, transform_points
from diff2i2p_core.io.image_files import read_image
from diff2i2p_core.io.rgbd_folder import Frame
from diff2i2p_core.typing import Array

FARTHEST = 65.0
"""Metres; the depth images of a set cannot hold more."""
TEST_SEQUENCES = ("09", "10")


@dataclass(frozen=True)
class Calibration:
    """The left colour camera (number 2) of a sequence."""

    matrix: Array
    """(3, 3)."""
    camera_from_left: Array
    """(4, 4) from the left grey camera (number 0), whose poses are published."""
    camera_from_lidar: Array


@dataclass(frozen=True)
class KittiRecording:
    """One sequence. Depth is what the lidar scan shows in the image: known for one pixel in about twenty."""

    folder: Path
    pose_file: Path
    numbers: tuple[int, ...]
    sequence: str = "seq-01"

    @property
    def scene(self) -> str:
        return f"kitti-{self.folder.name}"

    @property
    def subset(self) -> Subset | None:
        return "test" if self.folder.name in TEST_SEQUENCES else None

    @property
    def camera(self) -> Camera:
        height, width = _first_image_size(self.folder, self.numbers[0])
        return Camera.from_matrix(_calibration(self.folder).matrix, width, height)

    def world_from_camera(self, index: int) -> Array:
        left = _poses(self.pose_file)[self.numbers[index]]
        return left @ invert(_calibration(self.folder).camera_from_left)

    def scan(self, index: int) -> Array:
        """The lidar scan (N, 3) of a frame in the camera's frame, on all sides."""
        path = self.folder / "velodyne" / f"{self.numbers[index]:06d}.bin"
        values = np.fromfile(path, np.float32) if path.is_file() else np.empty(0, np.float32)
        if len(values) == 0 or len(values) % 4 or not np.isfinite(values).all():
            raise InputError(f"{path}: not a scan of x, y, z, reflectance; get the file again")
        return transform_points(_calibration(self.folder).camera_from_lidar, values.reshape(-1, 4)[:, :3])

    def frame(self, index: int) -> Frame:
        image = read_image(self.folder / "image_2" / f"{self.numbers[index]:06d}.png")
        depth = z_buffer(self.scan(index), self.camera)
        depth[depth > FARTHEST] = 0
        return Frame(self.numbers[index], image, depth, self.world_from_camera(index))


def kitti(source: Path) -> list[KittiRecording]:
    """The sequences with published poses (00 to 10) in a folder with `sequences` and `poses`."""
    root = source / "dataset" if (source / "dataset").is_dir() else source
    folders = sorted((root / "sequences").glob("[0-9][0-9]"))
    if not folders:
        raise InputError(f"{source}: holds no sequences/NN; give the folder of KITTI odometry")
    recordings = []
    for folder in folders:
        poses = root / "poses" / f"{folder.name}.txt"
        if not poses.is_file():
            continue  # one of the sequences 11 to 21
        images = {int(path.stem) for path in (folder / "image_2").glob("[0-9]*.png")}
        scans = {int(path.stem) for path in (folder / "velodyne").glob("[0-9]*.bin")}
        numbers = sorted(images & scans)
        if not numbers:
            raise InputError(f"{folder}: no number has both image_2/N.png and velodyne/N.bin; get them again")
        if numbers[-1] >= len(_poses(poses)):
            raise InputError(f"{poses}: has {len(_poses(poses))} poses, but the last frame is {numbers[-1]}")
        recordings.append(KittiRecording(folder, poses, tuple(numbers)))
    if not recordings:
        raise InputError(f"{root}: no poses/NN.txt for any of its sequences; get KITTI odometry's poses")
    return recordings


@lru_cache(maxsize=32)
def _first_image_size(folder: Path, number: int) -> tuple[int, int]:
    height, width = read_image(folder / "image_2" / f"{number:06d}.png").shape[:2]
    return height, width


@lru_cache(maxsize=32)
def _calibration(folder: Path) -> Calibration:
    """From the lines `P2` (projection from the left grey camera) and `Tr` (lidar to that camera)."""
    path = folder / "calib.txt"
    rows = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, numbers = line.partition(":")
            rows[name.strip()] = np.array(numbers.split(), np.float64)
        projection, lidar = rows["P2"].reshape(3, 4), rows["Tr"].reshape(3, 4)
        matrix = projection[:, :3]
        camera_from_left = compose(np.eye(3), np.linalg.solve(matrix, projection[:, 3]))
    except (OSError, ValueError, KeyError, np.linalg.LinAlgError):
        raise InputError(f"{path}: has no lines P2 and Tr of twelve numbers; get the file again") from None
    left_from_lidar = compose(lidar[:, :3], lidar[:, 3])
    if not is_rigid(left_from_lidar, 1e-3):
        raise InputError(f"{path}: Tr is not a rigid transform; get the file again")
    return Calibration(matrix, camera_from_left, camera_from_left @ left_from_lidar)


@lru_cache(maxsize=32)
def _poses(path: Path) -> list[Array]:
    """world_from_left of each frame, from lines of twelve numbers."""
    try:
        rows = np.loadtxt(path, np.float64, ndmin=2)
    except (OSError, ValueError):
        rows = np.empty((0, 0))
    if rows.shape[1:] != (12,) or not np.isfinite(rows).all():
        raise InputError(f"{path}: not lines of twelve numbers; get the file again")
    return [compose(row[:, :3], row[:, 3]) for row in rows.reshape(-1, 3, 4)]


SOURCE = Source(
    summary="KITTI odometry as downloaded; sequences 00-08 to train on, 09 and 10 to test.",
    path_help="Folder with sequences and poses.",
    recordings=lambda path, work, options: kitti(path),
    settings=PreparationSettings(window=10, voxel=0.3, max_depth=60, min_overlap=0.5, gap=50, val=0.1),
    splits=("gap", "val"),
    layout="kitti",
)
