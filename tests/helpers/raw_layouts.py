"""A small synthetic recording, and writers of it in the layouts in which data sets are downloaded."""

from __future__ import annotations

import zipfile
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import compose
from diff2i2p_core.io.rgbd_folder import Frame
from diff2i2p_core.rooms import textures
from diff2i2p_core.rooms.ray_casting import Scene, box

CAMERA = Camera(160, 120, 131.25, 131.25, 79.5, 59.5)
LOOK_ALONG_Y = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


@lru_cache(maxsize=1)
def hall() -> Scene:
    """Boxes in front of a wall."""
    rng = np.random.default_rng(0)
    places = [
        ((0, 2.5, 0.6), (0.8, 0.5, 1.2)),
        ((1.2, 2.8, 0.4), (0.6, 0.6, 0.8)),
        ((-1.3, 2.2, 0.5), (0.5, 0.5, 1.0)),
        ((0, 3.6, 1.2), (8, 0.1, 2.4)),
        ((0, 1.5, -0.05), (8, 5, 0.1)),
    ]
    return Scene([face for place in places for face in box(rng, *place, textures.painted)], (0, 0, 2.2), 0.7)


@lru_cache(maxsize=8)
def recording(count: int, start: float = -0.4, camera: Camera = CAMERA) -> tuple[Frame, ...]:
    """Frames of a camera that walks sideways from x = `start`, 2 cm a frame; depth in whole millimetres.

    Views of large cameras are rendered small and enlarged.
    """
    times = max(1, camera.width // 160)
    small = camera.scaled_to(camera.width // times, camera.height // times)
    frames = []
    for number in range(count):
        pose = compose(LOOK_ALONG_Y, (start + 0.02 * number, 0.0, 1.1))
        image, depth = hall().render(small, pose)
        image, depth = image.repeat(times, 0).repeat(times, 1), depth.repeat(times, 0).repeat(times, 1)
        frames.append(Frame(number, image, (np.rint(depth * 1000) / 1000).astype(np.float32), pose))
    return tuple(frames)


def png(image: np.ndarray) -> bytes:
    """An RGB image, or a depth image in metres as millimetres, encoded."""
    if image.dtype == np.uint8:
        return bytes(cv2.imencode(".png", image[..., ::-1])[1].tobytes())
    return bytes(cv2.imencode(".png", np.rint(image * 1000).astype(np.uint16))[1].tobytes())


def pose_text(pose: np.ndarray) -> str:
    return "\n".join(" ".join(f"{value:.9f}" for value in row) for row in pose) + "\n"


def write_posed_folder(folder: Path, frames: tuple[Frame, ...], camera: Camera = CAMERA) -> Path:
    """In the layout that `data.frames` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / "camera-intrinsics.txt", camera.matrix)
    for frame in frames:
        name = f"frame-{frame.number:06d}"
        (folder / f"{name}.color.png").write_bytes(png(frame.image))
        (folder / f"{name}.depth.png").write_bytes(png(frame.depth))
        (folder / f"{name}.pose.txt").write_text(pose_text(frame.world_from_camera))
    return folder


def write_seven_scenes(root: Path, scene: str, sequences: dict[str, tuple[Frame, ...]]) -> Path:
    """One scene's folder; the last sequence is the test split."""
    folder = root / scene
    for name, frames in sequences.items():
        write_posed_folder(folder / name, frames)
        (folder / name / "camera-intrinsics.txt").unlink()
    *train, test = (f"sequence{int(name[4:])}" for name in sequences)
    (folder / "TrainSplit.txt").write_text("".join(f"{line} \n" for line in train))
    (folder / "TestSplit.txt").write_text(f"{test}\n")
    return folder


def zip_folder(folder: Path, target: Path, inside: str) -> Path:
    """A zip with the files of `folder` below the folder `inside`."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"{inside}/{path.relative_to(folder).as_posix()}")
    return target
