"""Posed RGB-D folders: `frame-NNNNNN.color.{jpg,png}`, `.depth.png`, `.pose.txt` and intrinsics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError, located
from diff2i2p_core.geometry.calibration import Calibration
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import back_project, rectify_depth, register_depth
from diff2i2p_core.geometry.se3 import invert, is_rigid, transform_points
from diff2i2p_core.io.files import write_text
from diff2i2p_core.io.image_files import read_depth, read_image


@dataclass(frozen=True)
class Frame:
    """One posed RGB-D frame, without lens distortion. `depth` belongs to the depth camera; see
    `PosedFrames.registered_depth`."""

    number: int
    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    depth: NDArray[np.float32]
    """(H, W) metres in the depth camera; 0 where unknown or beyond `MAX_DEPTH`."""
    world_from_camera: NDArray[np.float64]
    """(4, 4) pose of the colour camera."""


class PosedFrames:
    """A posed RGB-D folder. Frames are read on demand, and lens distortion is removed.

    If `color_from_depth.txt` exists, depth and colour come from different cameras, and the pose files hold
    the poses of the depth camera. `world_from_camera` of a frame is always that of the colour camera.
    """

    def __init__(self, folder: Path | str, note: Callable[[str], None] = lambda line: None) -> None:
        """`note` gets the lines of `notes`."""
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise InputError(f"{folder}: no such folder; give a folder of posed RGB-D frames")
        numbers = sorted(int(path.name[6:12]) for path in self.folder.glob("frame-??????.pose.txt"))
        if not numbers:
            raise InputError(f"{folder}: holds no frame-NNNNNN.pose.txt; give a folder of posed RGB-D frames")
        self._poses = {number: pose for number in numbers if (pose := self._read_pose(number)) is not None}
        if not self._poses:
            raise InputError(
                f"{self._pose_path(numbers[0])}: not a finite rigid 4x4 transform, nor is that of any other "
                "frame; fix the poses"
            )
        self.notes: list[str] = []
        """Lines about frames without a valid pose, and about a doubtful calibration."""
        left_out = [number for number in numbers if number not in self._poses]
        if left_out:
            first = ", ".join(map(str, left_out[:5])) + (", ..." if len(left_out) > 5 else "")
            self.notes.append(
                f"{folder}: {len(left_out)} of {len(numbers)} frames left out, because their pose is not a "
                f"finite rigid 4x4 transform: {first}"
            )
        self.numbers = list(self._poses)
        height, width = self._read_image(self.numbers[0]).shape[:2]
        self._lens = self._camera("camera-intrinsics.txt", width, height)
        self.camera = self.depth_camera = self._lens.undistorted()
        self.notes += [f"{folder}: {doubt}" for doubt in self.camera.doubts]
        for line in self.notes:
            note(line)
        self.color_from_depth: NDArray[np.float64] | None = None
        if (self.folder / "color_from_depth.txt").exists():
            self.color_from_depth = self._matrix("color_from_depth.txt", (4, 4))
            depth_height, depth_width = self._read_depth(self.numbers[0]).shape
            self.depth_camera = self._camera("depth-intrinsics.txt", depth_width, depth_height)

    def __len__(self) -> int:
        return len(self.numbers)

    def __str__(self) -> str:
        return str(self.folder)

    def __getitem__(self, index: int) -> Frame:
        number = self.numbers[index]
        image, depth = self._read_image(number), self._read_depth(number)
        self._lens.check_size(image.shape, f"{self.folder}: image of frame {number}")
        self.depth_camera.check_size(depth.shape, f"{self.folder}: depth of frame {number}")
        if self.color_from_depth is None:
            depth = rectify_depth(depth, self._lens)
        return Frame(number, np.asarray(self._lens.rectify(image), np.uint8), depth, self.pose(number))

    def pose(self, number: int) -> NDArray[np.float64]:
        """(4, 4) world_from_camera of the colour camera in frame `number`."""
        pose = self._poses[number]
        return pose if self.color_from_depth is None else pose @ invert(self.color_from_depth)

    def registered_depth(self, frame: Frame) -> NDArray[np.float32]:
        """The frame's depth (H, W) in metres, registered to the colour camera."""
        if self.color_from_depth is None:
            return frame.depth
        return register_depth(frame.depth, self.depth_camera, self.camera, self.color_from_depth)

    def points(self, frame: Frame) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Points (N, 3) in the colour camera's frame and their colours (N, 3), from every valid depth."""
        points = back_project(frame.depth, self.depth_camera).reshape(-1, 3)
        points = points[points[:, 2] > 0]
        if self.color_from_depth is not None:
            points = transform_points(self.color_from_depth, points).astype(np.float32)
        pixels, z = self.camera.project(points)
        inside = self.camera.contains(pixels, z)
        columns, rows = np.rint(pixels[inside]).astype(int).T
        return points[inside], frame.image[rows, columns]

    def _camera(self, name: str, width: int, height: int) -> Camera:
        if name == "camera-intrinsics.txt" and (self.folder / "camera.yaml").exists():
            camera = Camera.from_file(self.folder / "camera.yaml", (width, height))
            camera.check_size((height, width), f"{self.folder}: images, with camera.yaml")
            return camera
        with located(self.folder / name):
            return Camera.of(Calibration(self._matrix(name, (3, 3))), (width, height))

    def _pose_path(self, number: int) -> Path:
        return self.folder / f"frame-{number:06d}.pose.txt"

    def _read_pose(self, number: int) -> NDArray[np.float64] | None:
        """None if the file does not hold a pose."""
        try:
            pose = self._matrix(self._pose_path(number).name, (4, 4))
        except InputError:
            return None
        return pose if is_rigid(pose) else None

    def _matrix(self, name: str, shape: tuple[int, int]) -> NDArray[np.float64]:
        return read_matrix(self.folder / name, shape, "a posed RGB-D folder needs it", "fix the file")

    def _read_image(self, number: int) -> NDArray[np.uint8]:
        for suffix in ("jpg", "png"):
            path = self.folder / f"frame-{number:06d}.color.{suffix}"
            if path.exists():
                return read_image(path)
        raise InputError(
            f"{self.folder}: frame-{number:06d}.color.jpg or .png is missing; add it or remove its pose"
        )

    def _read_depth(self, number: int) -> NDArray[np.float32]:
        return read_depth(self.folder / f"frame-{number:06d}.depth.png")


def read_matrix(path: Path, shape: tuple[int, int], needed: str, fix: str) -> NDArray[np.float64]:
    """A matrix from a text file. `needed` and `fix` end the error messages if it is missing or wrong."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        rows = [line.partition("#")[0].replace(",", " ").split() for line in lines]
        matrix = np.array([row for row in rows if row], np.float64)
    except OSError:
        raise InputError(f"{path}: cannot be read; {needed}") from None
    except ValueError:
        matrix = np.empty(0)
    if matrix.shape != shape:
        raise InputError(f"{path}: not a {shape[0]}x{shape[1]} matrix of numbers; {fix}")
    return matrix


def write_matrix(path: Path, matrix: NDArray[np.float64], digits: str = ".9f") -> None:
    """Write a matrix for `read_matrix`: one line of numbers per row."""
    rows = (" ".join(f"{value:{digits}}" for value in row) for row in matrix)
    write_text(path, "\n".join(rows) + "\n")
