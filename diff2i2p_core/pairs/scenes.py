"""A posed RGB-D folder in memory for drawing training pairs: small images, depth, poses and a map."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.files import atomic_path
from diff2i2p_core.io.fused_frames import fuse_frames
from diff2i2p_core.io.rgbd_folder import PosedFrames

_CACHE_VERSION = 3
_ARRAYS = ("images", "depths", "world_from_cameras")


@dataclass(frozen=True)
class Scene:
    """n frames of one place, resampled to the network's image height."""

    name: str
    camera: Camera
    """The camera of the resampled images."""
    images: NDArray[np.uint8]
    """(n, H, W, 3) RGB."""
    depths: NDArray[np.uint16]
    """(n, H, W) millimetres registered to the images, 0 where unknown."""
    world_from_cameras: NDArray[np.float64]
    """(n, 4, 4)."""
    cloud: PointCloud
    """Fused map in the world frame."""

    def __len__(self) -> int:
        return len(self.images)


def load_scene(
    folder: Path | str, height: int, frame_range: tuple[int, int] | None = None, cache: Path | None = None
) -> Scene:
    """Read the frames of a folder with numbers in [first, last], and fuse their map.

    With `cache`, the result is stored there and used again as long as folder, frames and height are the same.
    """
    frames = PosedFrames(folder)
    first, last = frame_range or (frames.numbers[0], frames.numbers[-1])
    numbers = [number for number in frames.numbers if first <= number <= last]
    if not numbers:
        raise InputError(
            f"{folder}: no frames in the range {first}..{last}; the first is {frames.numbers[0]}"
        )
    name = f"{Path(folder).name}-{first}-{last}"
    key = json.dumps([_CACHE_VERSION, str(Path(folder).resolve()), numbers, height])
    file = None if cache is None else cache / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.npz"
    if file is not None and file.exists():
        return _read(file, name)
    scene = _build(frames, numbers, height, name)
    if file is not None:
        with atomic_path(file) as path:
            camera = scene.camera
            intrinsics = np.array([camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy])
            arrays = {k: getattr(scene, k) for k in _ARRAYS}
            assert scene.cloud.colors is not None  # frames have colours
            np.savez(
                path,
                intrinsics=intrinsics,
                points=scene.cloud.points,
                colors=scene.cloud.colors,
                **arrays,
            )
    return scene


def _build(frames: PosedFrames, numbers: list[int], height: int, name: str) -> Scene:
    camera = frames.camera.scaled_to(round(frames.camera.width * height / frames.camera.height), height)
    size = (camera.width, camera.height)
    wanted = set(numbers)
    images, depths, poses = [], [], []
    for index, number in enumerate(frames.numbers):
        if number not in wanted:
            continue
        frame = frames[index]
        depth = frames.registered_depth(frame)
        images.append(cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA))
        # Nearest neighbour, because averaging across depth edges would invent surfaces.
        small = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST_EXACT)
        depths.append(np.rint(small * 1000).astype(np.uint16))
        poses.append(frame.world_from_camera)
    cloud = fuse_frames(frames, numbers)
    return Scene(name, camera, np.stack(images).astype(np.uint8), np.stack(depths), np.stack(poses), cloud)


def _read(file: Path, name: str) -> Scene:
    try:
        with np.load(file, allow_pickle=False) as data:
            width, height, fx, fy, cx, cy = data["intrinsics"]
            camera = Camera(int(width), int(height), float(fx), float(fy), float(cx), float(cy))
            arrays = {k: data[k] for k in _ARRAYS}
            cloud = PointCloud(data["points"], data["colors"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise InputError(f"{file}: broken cache file; remove it to make it again") from None
    return Scene(name, camera, **arrays, cloud=cloud)
