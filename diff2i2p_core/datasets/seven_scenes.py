"""7-Scenes as shipped by Microsoft: chess.zip with seq-NN.zip inside, or unpacked, completely or in part."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from diff2i2p_core.datasets.file_tree import FileTree, open_tree
from diff2i2p_core.datasets.recording import Subset, parse_pose
from diff2i2p_core.datasets.sources import Source
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.io.image_files import decode_depth, decode_image
from diff2i2p_core.io.rgbd_folder import Frame
from diff2i2p_core.typing import Array

CAMERA = Camera(640, 480, 585.0, 585.0, 320.0, 240.0)
"""The depth camera, which the benchmark also uses for the images (they are not registered)."""
_SPLITS: dict[str, Subset] = {"TrainSplit.txt": "train", "TestSplit.txt": "test"}
_PARTS = ("color.png", "depth.png", "pose.txt")


@dataclass(frozen=True)
class SevenScenesRecording:
    """seq-NN of a scene."""

    scene: str
    sequence: str
    subset: Subset
    tree: FileTree
    numbers: tuple[int, ...]
    camera: Camera = CAMERA

    def world_from_camera(self, index: int) -> Array:
        name = f"frame-{self.numbers[index]:06d}.pose.txt"
        return parse_pose(self.tree.read(name), f"{self.tree}: {name}")

    def frame(self, index: int) -> Frame:
        image, depth = (f"frame-{self.numbers[index]:06d}.{part}" for part in _PARTS[:2])
        return Frame(
            self.numbers[index],
            decode_image(self.tree.read(image), f"{self.tree}: {image}"),
            decode_depth(self.tree.read(depth), f"{self.tree}: {depth}"),
            self.world_from_camera(index),
        )


def seven_scenes(source: Path, work: Path) -> list[SevenScenesRecording]:
    """The recordings of a scene or a folder of scenes, zipped or not. Inner zips are copied to `work`."""
    root = open_tree(source).entered()
    scenes = {}
    if _SPLITS.keys() <= root.files():
        scenes[root.inside.rstrip("/").rpartition("/")[2] or root.path.resolve().stem] = root
    elif not root.is_zip:
        for name in sorted(root.files()):
            if name.endswith(".zip") and _SPLITS.keys() <= root.nested(name, work).entered().files():
                scenes[name.removesuffix(".zip")] = root.nested(name, work).entered()
        for name in sorted(root.folders()):
            if _SPLITS.keys() <= root.sub(name).files():
                scenes[name] = root.sub(name)
    if not scenes:
        raise InputError(
            f"{source}: holds no scene with TrainSplit.txt and TestSplit.txt; give 7-Scenes' folder"
        )
    return [recording for name, tree in scenes.items() for recording in _recordings(name, tree, work)]


def _recordings(scene: str, tree: FileTree, work: Path) -> list[SevenScenesRecording]:
    recordings = []
    for file, subset in _SPLITS.items():
        lines = tree.read(file).decode("utf-8", "replace").split()
        numbers = [re.fullmatch(r"sequence(\d+)", line) for line in lines]
        if not numbers or None in numbers:
            raise InputError(f"{tree}: {file} is not a list of lines `sequence1`; get the scene again")
        for match in numbers:
            assert match is not None
            sequence = f"seq-{int(match[1]):02d}"
            frames = _frames_of(tree, sequence, file, work)
            recordings.append(
                SevenScenesRecording(scene, sequence, subset, frames, _frame_numbers(frames, sequence))
            )
    return sorted(recordings, key=lambda recording: recording.sequence)


def _frames_of(tree: FileTree, sequence: str, file: str, work: Path) -> FileTree:
    if sequence in tree.folders():
        return tree.sub(sequence)
    if f"{sequence}.zip" in tree.files():
        return tree.nested(f"{sequence}.zip", work).entered()
    raise InputError(f"{tree}: {file} names {sequence}, which is missing; get the complete scene")


def _frame_numbers(tree: FileTree, sequence: str) -> tuple[int, ...]:
    files = tree.files()
    numbers = sorted({int(name[6:12]) for name in files if re.fullmatch(r"frame-\d{6}\..*", name)})
    if not numbers:
        raise InputError(f"{tree}: holds no frame-NNNNNN.color.png; get {sequence} again")
    for number in numbers:
        for part in _PARTS:
            if f"frame-{number:06d}.{part}" not in files:
                raise InputError(f"{tree}: frame-{number:06d}.{part} is missing; get {sequence} again")
    return tuple(numbers)


SOURCE = Source(
    summary="7-Scenes as downloaded, with the official split; the end of each training recording is val.",
    path_help="Folder of scenes or zips, or one scene.",
    recordings=lambda path, work, options: seven_scenes(path, work),
    splits=("gap", "val"),
)
