"""Writes the files of one window: its cloud, and the image and depth of its middle frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.datasets.recording import Recording
from diff2i2p_core.datasets.settings import PreparationSettings
from diff2i2p_core.datasets.windows import Window
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.depth import back_project
from diff2i2p_core.geometry.fused_views import View, fuse_views, thinned
from diff2i2p_core.geometry.se3 import invert, transform_points
from diff2i2p_core.io.files import atomic_path
from diff2i2p_core.io.image_files import write_image
from diff2i2p_core.io.rgbd_folder import Frame
from diff2i2p_core.pairs.metadata import Layout

_STRIDE = 2
"""Stride of the fused pixels; at 6 m they are 2 cm apart."""
_MIN_VIEWS = 2


@dataclass(frozen=True)
class Names:
    """The files of a window below the set's `data` folder, in the benchmark's layout (docs/method.md R1)."""

    image: str
    depth: str
    cloud: str

    @classmethod
    def of(cls, recording: Recording, window: Window, layout: Layout) -> Names:
        """7scenes: scene/seq-NN/color_NNNNNN.png; rgbd_scenes_v2: scene/color_NNNNN.png."""
        folder, digits = f"{recording.scene}/{recording.sequence}", 6
        if layout == "rgbd_scenes_v2":
            folder, digits = recording.scene, 5
        image, cloud = (f"{recording.numbers[i]:0{digits}d}" for i in (window.image, window.first))
        return cls(
            f"{folder}/color_{image}.png", f"{folder}/depth_{image}.png", f"{folder}/cloud_{cloud}.npy"
        )

    def __iter__(self) -> Iterator[str]:
        return iter((self.image, self.depth, self.cloud))


def write_window(
    recording: Recording, window: Window, settings: PreparationSettings, names: Names, folder: Path
) -> int:
    """Write the missing files below `folder`. Returns the number of points in the cloud."""
    cloud_path = folder / names.cloud
    if all((folder / name).exists() for name in names):
        return len(np.load(cloud_path, mmap_mode="r", allow_pickle=False))
    first_from_world = invert(recording.world_from_camera(window.first))

    def views() -> Iterator[View]:
        for index in range(window.first, window.first + window.count):
            frame = recording.frame(index)
            _check_size(recording, frame)
            if index == window.image:
                write_image(folder / names.image, frame.image)
                write_image(folder / names.depth, np.rint(frame.depth * 1000).astype(np.uint16))
            points, distances = _points(recording, index, frame, settings.max_depth)
            moved = transform_points(first_from_world @ frame.world_from_camera, points)
            yield View(moved, distances, np.zeros((len(points), 0)))

    cloud, _ = fuse_views(views(), settings.voxel, _MIN_VIEWS)
    if len(cloud) == 0:
        raise InputError(
            f"{recording.scene}/{recording.sequence}: frames from {recording.numbers[window.first]} on "
            "have no depth in common; are the depths in millimetres and the poses world_from_camera?"
        )
    with atomic_path(cloud_path) as path:
        np.save(path, cloud)
    return len(cloud)


def _points(
    recording: Recording, index: int, frame: Frame, farthest: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The frame's points (N, 3) up to `farthest`, and how far away they are (N,): from its lidar scan if the
    recording has them, else from depth."""
    scan = getattr(recording, "scan", None)
    if scan is None:
        depth = thinned(frame.depth, _STRIDE, farthest)
        points = back_project(depth, recording.camera)[depth > 0]
        return points, points[:, 2]
    points = scan(index)
    distances = np.linalg.norm(points, axis=1)
    return points[distances <= farthest], distances[distances <= farthest]


def _check_size(recording: Recording, frame: Frame) -> None:
    where = f"{recording.scene}/{recording.sequence}"
    for what, shape in (("image", frame.image.shape), ("depth", frame.depth.shape)):
        recording.camera.check_size(shape, f"{where}: {what} of frame {frame.number}")
