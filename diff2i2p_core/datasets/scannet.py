"""ScanNet scenes as its SensReader exports them: color/N.jpg, depth/N.png, pose/N.txt, intrinsic/*.txt."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from diff2i2p_core.datasets.recording import parse_pose
from diff2i2p_core.datasets.sources import Source
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import register_depth
from diff2i2p_core.io.image_files import read_depth, read_image
from diff2i2p_core.io.rgbd_folder import Frame, read_matrix
from diff2i2p_core.typing import Array

_FIX = "export the scene again with all of color, depth, pose and intrinsic"


@dataclass(frozen=True)
class ScanNetRecording:
    """One scan. Images are reduced to the size of the depth images, which get their camera.

    Each scan has its own world frame, so each is a scene, also several scans of one room.
    """

    folder: Path
    numbers: tuple[int, ...]
    sequence: str = "seq-01"
    subset: None = None

    @property
    def scene(self) -> str:
        return self.folder.resolve().name.replace("_", "-")

    @property
    def camera(self) -> Camera:
        return _cameras(self.folder, self.numbers[0])[0]

    def world_from_camera(self, index: int) -> Array:
        path = self.folder / "pose" / f"{self.numbers[index]}.txt"
        return parse_pose(path.read_bytes(), path)

    def frame(self, index: int) -> Frame:
        number = self.numbers[index]
        camera, depth_camera = _cameras(self.folder, self.numbers[0])
        image = read_image(self.folder / "color" / f"{number}.jpg")
        depth = read_depth(self.folder / "depth" / f"{number}.png")
        size = (camera.width, camera.height)
        return Frame(
            number,
            np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8),
            register_depth(depth, depth_camera, camera, np.eye(4)),
            self.world_from_camera(index),
        )


def scannet(source: Path) -> list[ScanNetRecording]:
    """The recording of an exported scan, or one recording for each scan in `source`."""
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; give an exported scan, or a folder of them")
    inside = sorted(path for path in source.iterdir() if (path / "pose").is_dir())
    scans = [source] if (source / "pose").is_dir() else inside
    if not scans:
        raise InputError(f"{source}: holds no folder pose; give an exported scan, or a folder of them")
    return [ScanNetRecording(folder, _numbers(folder)) for folder in scans]


def _numbers(folder: Path) -> tuple[int, ...]:
    """Of the frames with image, depth and a pose. Where tracking was lost, poses are -inf."""
    kinds = (("color", "jpg"), ("depth", "png"), ("pose", "txt"))
    found = [
        {int(path.stem) for path in (folder / kind).glob(f"*.{suffix}") if path.stem.isdecimal()}
        for kind, suffix in kinds
    ]
    complete = sorted(set.intersection(*found))
    posed = (n for n in complete if "inf" not in (folder / "pose" / f"{n}.txt").read_text(errors="replace"))
    numbers = tuple(posed)
    if not numbers:
        raise InputError(f"{folder}: no frame has color/N.jpg, depth/N.png and a pose in pose/N.txt; {_FIX}")
    return numbers


@lru_cache(maxsize=32)
def _cameras(folder: Path, number: int) -> tuple[Camera, Camera]:
    """Of the images, reduced to the size of depth, and of depth. InputError if their poses differ."""
    image = read_image(folder / "color" / f"{number}.jpg")
    depth = read_depth(folder / "depth" / f"{number}.png")
    for name in ("color", "depth"):
        path = folder / "intrinsic" / f"extrinsic_{name}.txt"
        if path.is_file() and not np.allclose(_matrix(path), np.eye(4), atol=1e-4):
            raise InputError(
                f"{path}: not the identity; images and depth of different poses are not supported"
            )
    height, width = depth.shape
    color = _camera(folder, "color", (image.shape[0], image.shape[1])).scaled_to(width, height)
    return color, _camera(folder, "depth", (height, width))


def _camera(folder: Path, name: str, size: tuple[int, int]) -> Camera:
    matrix = _matrix(folder / "intrinsic" / f"intrinsic_{name}.txt")[:3, :3]
    return Camera.from_matrix(matrix, size[1], size[0])


def _matrix(path: Path) -> Array:
    return read_matrix(path, (4, 4), "an exported scan has it", _FIX)


SOURCE = Source(
    summary="ScanNet scans as exported by its SensReader; each is a scene.",
    path_help="Exported scan (color, depth, pose, intrinsic), or a folder of scans.",
    recordings=lambda path, work, options: scannet(path),
)
