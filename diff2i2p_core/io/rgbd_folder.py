"""Posed RGB-D folders: `frame-NNNNNN.color.{jpg,png}`, `.depth.png`, `.pose.txt` and intrinsics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import MAX_DEPTH, back_project, register_depth
from diff2i2p_core.geometry.se3 import invert, is_rigid, transform_points
from diff2i2p_core.io.files import atomic_path, write_text


@dataclass(frozen=True)
class Frame:
    """One posed RGB-D frame. `depth` belongs to the depth camera; see `PosedFrames.registered_depth`."""

    number: int
    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    depth: NDArray[np.float32]
    """(H, W) metres in the depth camera; 0 where unknown or beyond `MAX_DEPTH`."""
    world_from_camera: NDArray[np.float64]
    """(4, 4) pose of the colour camera."""


class PosedFrames:
    """A posed RGB-D folder. Frames are read on demand.

    If `color_from_depth.txt` exists, depth and colour come from different cameras, and the pose files hold
    the poses of the depth camera. `world_from_camera` of a frame is always that of the colour camera.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise InputError(f"{folder}: no such folder; give a folder of posed RGB-D frames")
        self.numbers = sorted(int(path.name[6:12]) for path in self.folder.glob("frame-??????.pose.txt"))
        if not self.numbers:
            raise InputError(f"{folder}: holds no frame-NNNNNN.pose.txt; give a folder of posed RGB-D frames")
        height, width = self._read_image(self.numbers[0]).shape[:2]
        self.camera = self._camera("camera-intrinsics.txt", width, height)
        self.depth_camera = self.camera
        self.color_from_depth: NDArray[np.float64] | None = None
        if (self.folder / "color_from_depth.txt").exists():
            self.color_from_depth = self._matrix("color_from_depth.txt", (4, 4))
            depth_height, depth_width = self._read_depth(self.numbers[0]).shape
            self.depth_camera = self._camera("depth-intrinsics.txt", depth_width, depth_height)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Frame:
        number = self.numbers[index]
        return Frame(number, self._read_image(number), self._read_depth(number), self.pose(number))

    def pose(self, number: int) -> NDArray[np.float64]:
        """(4, 4) world_from_camera of the colour camera in frame `number`."""
        name = f"frame-{number:06d}.pose.txt"
        pose = self._matrix(name, (4, 4))
        if not is_rigid(pose):
            raise InputError(
                f"{self.folder / name}: not a finite rigid 4x4 transform; fix or remove the frame"
            )
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
            camera = Camera.from_file(self.folder / "camera.yaml")
            camera.check_size((height, width), f"{self.folder}: images, with camera.yaml")
            return camera
        return Camera.from_matrix(self._matrix(name, (3, 3)), width, height)

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
        matrix = np.loadtxt(path, dtype=np.float64)
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


def read_image(path: Path | str) -> NDArray[np.uint8]:
    """An image file as (H, W, 3) uint8 RGB."""
    return decode_image(_bytes(path), path)


def decode_image(encoded: bytes, where: Path | str) -> NDArray[np.uint8]:
    """The bytes of an image file as (H, W, 3) uint8 RGB. `where` begins the error message."""
    image = _decoded(encoded, cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"{where}: cannot be read as an image; give a valid PNG or JPEG file")
    return np.ascontiguousarray(image[..., ::-1])


def read_depth(path: Path | str, max_depth: float = MAX_DEPTH) -> NDArray[np.float32]:
    """A 16-bit PNG in millimetres as (H, W) float32 metres; 0 if invalid (0, 65535) or beyond `max_depth`."""
    return decode_depth(_bytes(path), path, max_depth)


def decode_depth(
    encoded: bytes, where: Path | str, max_depth: float = MAX_DEPTH, per_metre: float = 1000
) -> NDArray[np.float32]:
    """The bytes of a 16-bit PNG as depth, as in `read_depth`. `per_metre` is the pixel value of one metre."""
    raw = _decoded(encoded, cv2.IMREAD_UNCHANGED)
    if raw is None or raw.dtype != np.uint16 or raw.ndim != 2:
        raise InputError(f"{where}: cannot be read as a 16-bit depth image; give a valid PNG in millimetres")
    depth = raw.astype(np.float32)
    depth /= per_metre
    depth[depth > max_depth] = 0
    return depth


def _bytes(path: Path | str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give an image file") from None


def _decoded(encoded: bytes, flags: int) -> NDArray[Any] | None:
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), flags) if encoded else None


def write_image(path: Path, image: NDArray[Any], options: Sequence[int] = ()) -> None:
    """Write an RGB or one-channel image in the format given by the suffix. `options` are OpenCV's."""
    # Encoded in memory, because OpenCV does not report a full disk.
    bgr = image[..., ::-1] if image.ndim == 3 else image
    _, encoded = cv2.imencode(path.suffix, np.ascontiguousarray(bgr), options)
    with atomic_path(path) as part:
        part.write_bytes(encoded.tobytes())
