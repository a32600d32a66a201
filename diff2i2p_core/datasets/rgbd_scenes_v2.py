"""RGB-D Scenes V2 as downloaded: imgs/scene_NN/NNNNN-color.png and -depth.png, pc/NN.pose."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from diff2i2p_core.datasets.file_tree import FileTree, open_tree
from diff2i2p_core.datasets.recording import Subset
from diff2i2p_core.datasets.settings import PreparationSettings
from diff2i2p_core.datasets.sources import Source
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import from_quaternion
from diff2i2p_core.io.image_files import decode_depth, decode_image
from diff2i2p_core.io.rgbd_folder import Frame
from diff2i2p_core.typing import Array

CAMERA = Camera(640, 480, 570.3, 570.3, 320.0, 240.0)
"""The camera of the Xtion's images, to which its depth is registered."""


def _subset(scene: int) -> Subset:
    """The papers' split: 1-8 train, 9-10 val, 11-14 test."""
    return "train" if scene <= 8 else "val" if scene <= 10 else "test"


@dataclass(frozen=True)
class SceneRecording:
    """The one recording of a scene."""

    scene: str
    subset: Subset
    images: FileTree
    poses: FileTree
    pose_file: str
    numbers: tuple[int, ...]
    camera: Camera = CAMERA
    sequence: str = "seq-01"

    def world_from_camera(self, index: int) -> Array:
        return _poses(self.poses, self.pose_file)[self.numbers[index]]

    def frame(self, index: int) -> Frame:
        image, depth = (f"{self.numbers[index]:05d}-{kind}.png" for kind in ("color", "depth"))
        return Frame(
            self.numbers[index],
            decode_image(self.images.read(image), f"{self.images}: {image}"),
            decode_depth(self.images.read(depth), f"{self.images}: {depth}"),
            self.world_from_camera(index),
        )


def rgbd_scenes_v2(source: Path, work: Path) -> list[SceneRecording]:
    """The recordings in a folder with `imgs` and `pc`, or with the two zips that hold them."""
    root = open_tree(source).entered()
    trees = [root]
    if not root.is_zip:
        trees += [root.nested(name, work).entered() for name in sorted(root.files()) if name.endswith(".zip")]
        trees += [root.sub(name).entered() for name in sorted(root.folders())]
    images = next((tree.sub("imgs") for tree in trees if "imgs" in tree.folders()), None)
    poses = next((tree.sub("pc") for tree in trees if "pc" in tree.folders()), None)
    if images is None or poses is None:
        raise InputError(
            f"{source}: holds no folders imgs and pc, zipped or not; give RGB-D Scenes V2's folder"
        )
    recordings = []
    for name in sorted(images.folders()):
        if match := re.fullmatch(r"scene_(\d\d)", name):
            recordings.append(_recording(match[1], images.sub(name), poses))
    if not recordings:
        raise InputError(f"{images}: holds no scene_NN; get the data again")
    return recordings


def _recording(scene: str, images: FileTree, poses: FileTree) -> SceneRecording:
    files = images.files()
    numbers = sorted(int(name[:5]) for name in files if re.fullmatch(r"\d{5}-color\.png", name))
    if not numbers:
        raise InputError(f"{images}: holds no NNNNN-color.png; get the scene again")
    for number in numbers:
        if f"{number:05d}-depth.png" not in files:
            raise InputError(f"{images}: {number:05d}-depth.png is missing; get the scene again")
    count = len(_poses(poses, f"{scene}.pose"))
    if count <= numbers[-1]:
        raise InputError(
            f"{poses}: {scene}.pose has {count} poses, but the last image is {numbers[-1]:05d}; get it again"
        )
    return SceneRecording(
        f"rgbd-scenes-v2-scene_{scene}", _subset(int(scene)), images, poses, f"{scene}.pose", tuple(numbers)
    )


@lru_cache(maxsize=32)
def _poses(tree: FileTree, name: str) -> list[Array]:
    """world_from_camera of each frame, from lines `qw qx qy qz x y z`."""
    try:
        rows = np.array([line.split() for line in tree.read(name).splitlines() if line.strip()], np.float64)
    except ValueError:
        rows = np.zeros((0, 7))
    norms = np.linalg.norm(rows[:, :4], axis=1) if rows.shape[1:] == (7,) else np.zeros(1)
    if not np.isfinite(rows).all() or len(norms) == 0 or (np.abs(norms - 1) > 0.1).any():
        raise InputError(f"{tree}: {name} is not lines `qw qx qy qz x y z`; get it again")
    return [from_quaternion(row[4:], row[[1, 2, 3, 0]]) for row in rows]


SOURCE = Source(
    summary="RGB-D Scenes V2 as downloaded; the papers' split of its scenes.",
    path_help="Folder with imgs and pc, or their zips.",
    recordings=lambda path, work, options: rgbd_scenes_v2(path, work),
    settings=PreparationSettings(min_overlap=0.3),
    splits=(),
    layout="rgbd_scenes_v2",
)
