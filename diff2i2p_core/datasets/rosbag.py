"""Converts a ROS 2 bag to a posed RGB-D folder: images with the depth and pose at their time."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.datasets.recording_frames import FolderRecording
from diff2i2p_core.datasets.rosbag_cameras import cameras_of, most_frequent
from diff2i2p_core.datasets.rosbag_topics import BagTopics, ChosenTopics
from diff2i2p_core.datasets.sources import Source
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import back_project, rectify_depth, z_buffer
from diff2i2p_core.geometry.se3 import invert, transform_points
from diff2i2p_core.io.files import atomic_path, write_text
from diff2i2p_core.io.image_files import write_image
from diff2i2p_core.io.rgbd_folder import write_matrix
from diff2i2p_core.messages.bag_index import BagIndex, nearest
from diff2i2p_core.messages.bag_reader import Bag
from diff2i2p_core.messages.clouds import cloud_of
from diff2i2p_core.messages.encodings import mosaic_of
from diff2i2p_core.messages.images import depth_of, image_of
from diff2i2p_core.messages.kinds import stamp_of
from diff2i2p_core.typing import Array, Progress

MARK = "bag.json"
"""A file in the folder: what it was made from, and how many frames were left out."""


@dataclass(frozen=True)
class _Wanted:
    """One frame to write."""

    number: int
    image: int
    depth: int
    """Stamps."""
    world_from_camera: Array
    camera_from_depth: Array | None
    """None if depth is registered to the image."""


def export_bag(path: Path, folder: Path, topics: BagTopics, progress: Progress | None = None) -> Path:
    """Write the bag's frames to `folder`, without lens distortion. An existing folder from the same bag is
    kept.

    Frames have the numbers of the bag's images. Those without depth or pose at their time are left out.
    """
    source = {"bag": path.resolve().name, **topics.model_dump()}
    if (folder / MARK).exists():
        if _mark(folder)["source"] != source:
            raise InputError(f"{folder}: is from another bag or other topics; give a new folder")
        return folder
    if folder.exists():
        raise InputError(f"{folder}: holds something else; give a new folder")
    part = folder.with_name(f".{folder.name}.part")
    with Bag(path) as bag:
        selected = topics.choose(bag)
        index = BagIndex.of(bag, (selected.image, selected.depth), selected.pose)
        index.prefer_poses(index.frames[selected.image])
        cameras = cameras_of(bag, index, selected.image, topics.camera_info)
        wanted, left_out = _plan(bag, index, selected, topics, cameras)
        camera = cameras[wanted[0].number]
        assert camera is not None
        depth_camera: Camera | None = camera
        if not selected.depth_is_cloud and not _registered(index, selected):
            depth_camera = most_frequent(cameras_of(bag, index, selected.depth))
        assert depth_camera is not None
        writer = _Writer(path, _begun(part, source), camera, depth_camera)
        for done, (frame, image, depth) in enumerate(_matched(bag, index, selected, wanted), start=1):
            writer.write(frame, image, depth)
            if progress is not None:
                progress("reading frames", done, len(wanted))
    write_matrix(part / "camera-intrinsics.txt", camera.matrix, ".9g")
    notes = [*index.notes, *(f"{path}: {doubt}" for doubt in camera.doubts)]
    mark = {"source": source, "frames": len(wanted), "left_out": left_out, "notes": notes}
    write_text(part / MARK, json.dumps(mark) + "\n")
    part.rename(folder)
    return folder


def left_out(folder: Path) -> dict[str, int]:
    """For a folder from `export_bag`: how many of the bag's images were left out, by reason."""
    counts: dict[str, int] = _mark(folder)["left_out"]
    return counts


def _mark(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / MARK).read_text(encoding="utf-8"))
    return content


def _begun(part: Path, source: dict[str, Any]) -> Path:
    """The folder of an interrupted run that is resumed; emptied if it was for other topics."""
    mark = json.dumps({"source": source}) + "\n"
    if part.exists() and (not (part / MARK).exists() or (part / MARK).read_text(encoding="utf-8") != mark):
        shutil.rmtree(part)
    write_text(part / MARK, mark)
    return part


def _registered(index: BagIndex, selected: ChosenTopics) -> bool:
    """Whether the depth is an image in the colour camera's frame."""
    return not selected.depth_is_cloud and index.frames[selected.depth] == index.frames[selected.image]


def _plan(
    bag: Bag, index: BagIndex, selected: ChosenTopics, topics: BagTopics, cameras: Sequence[Camera | None]
) -> tuple[list[_Wanted], dict[str, int]]:
    """The frames to write, and the number left out for each reason."""
    image_frame, depth_frame = index.frames[selected.image], index.frames[selected.depth]
    world = topics.world or index.tree.root(image_frame)
    if world.lstrip("/") == image_frame.lstrip("/"):
        raise InputError(
            f"{bag.path}: no transform leads to {image_frame}, the camera's frame; record /tf and "
            "/tf_static, or name a topic with its poses"
        )
    registered = _registered(index, selected)
    wanted, left_out = [], Counter[str]()
    stamps = index.stamps[selected.image]
    depths = np.array(index.stamps[selected.depth])
    usual = most_frequent(cameras)  # a folder has one camera
    for number in range(0, len(stamps), topics.every):
        stamp = stamps[number]
        if cameras[number] != usual:
            left_out["no calibration" if cameras[number] is None else "another calibration"] += 1
            continue
        depth = nearest(depths, stamp)
        if abs(depth - stamp) > topics.apart * 1e9:
            left_out["no depth"] += 1
            continue
        world_from_camera = index.tree.at(world, image_frame, stamp)
        world_from_depth = world_from_camera if registered else index.tree.at(world, depth_frame, depth)
        if world_from_camera is None or world_from_depth is None:
            left_out["no pose"] += 1
            continue
        camera_from_depth = None if registered else invert(world_from_camera) @ world_from_depth
        wanted.append(_Wanted(number, stamp, depth, world_from_camera, camera_from_depth))
    if not wanted:
        why = ", ".join(f"{count} have {reason}" for reason, count in left_out.items())
        raise InputError(
            f"{bag.path}: none of {len(stamps)} images can be used: {why} at their time; are all from one "
            "clock, and does /tf cover the recording?"
        )
    return wanted, dict(left_out)


def _matched(
    bag: Bag, index: BagIndex, selected: ChosenTopics, wanted: list[_Wanted]
) -> Iterator[tuple[_Wanted, Any, Any]]:
    """The frames with their messages, once both are read. Only messages still needed are kept in memory."""
    by_image = {frame.image: frame for frame in wanted}
    by_depth: dict[int, list[_Wanted]] = {}
    for frame in wanted:
        by_depth.setdefault(frame.depth, []).append(frame)
    images: dict[int, Any] = {}
    depths: dict[int, Any] = {}
    for topic, _, message in index.read(bag, [selected.image, selected.depth]):
        stamp = stamp_of(message)
        if topic == selected.image and stamp in by_image:
            images[stamp] = message
            ready = [by_image[stamp]] if by_image[stamp].depth in depths else []
        elif topic == selected.depth and stamp in by_depth:
            depths[stamp] = message
            ready = [frame for frame in by_depth[stamp] if frame.image in images]
        else:
            continue
        for frame in ready:
            yield frame, images.pop(frame.image), depths[frame.depth]
            by_depth[frame.depth].remove(frame)
            if not by_depth[frame.depth]:
                del depths[frame.depth]


@dataclass(frozen=True)
class _Writer:
    """Writes frames to a posed RGB-D folder. Existing ones are kept."""

    bag: Path
    folder: Path
    camera: Camera
    depth_camera: Camera

    def write(self, frame: _Wanted, image: Any, depth: Any) -> None:
        name = f"frame-{frame.number:06d}"
        if (self.folder / f"{name}.pose.txt").exists():
            return
        where = f"{self.bag}: image {frame.number}"
        pixels = image_of(image, where)
        self.camera.check_size(pixels.shape, where)
        if not self.camera.is_distorted and _is_colour_jpeg(image):
            with atomic_path(self.folder / f"{name}.color.jpg") as path:
                path.write_bytes(bytes(image.data))
        else:
            rectified = self.camera.rectify(pixels)
            write_image(self.folder / f"{name}.color.png", np.asarray(rectified))
        millimetres = np.rint(self._depth(frame, depth) * 1000)
        valid = np.where(millimetres < 65535, millimetres, 0).astype(np.uint16)
        write_image(self.folder / f"{name}.depth.png", valid)
        # Written last, because a frame exists once its pose file exists.
        write_matrix(self.folder / f"{name}.pose.txt", frame.world_from_camera)

    def _depth(self, frame: _Wanted, message: Any) -> NDArray[np.float32]:
        """Depth as seen by the image's camera without distortion."""
        where = f"{self.bag}: depth of image {frame.number}"
        pinhole = self.camera.undistorted()
        if hasattr(message, "fields"):
            points: NDArray[Any] = cloud_of(message, where).points
        else:
            depth = depth_of(message, where)
            self.depth_camera.check_size(depth.shape, where)
            depth = rectify_depth(depth, self.depth_camera)
            if frame.camera_from_depth is None:
                return depth
            points = back_project(depth, self.depth_camera)[depth > 0]
        assert frame.camera_from_depth is not None
        return z_buffer(transform_points(frame.camera_from_depth, points), pinhole)


def _is_colour_jpeg(message: Any) -> bool:
    """Whether a message holds a JPEG file that can be kept as it is."""
    is_jpeg = not hasattr(message, "encoding") and bytes(message.data[:3]) == b"\xff\xd8\xff"
    return is_jpeg and mosaic_of(message.format) is None


def _export(path: Path, folder: Path, topics: BagTopics, progress: Progress) -> str:
    recording = FolderRecording(export_bag(path, folder, topics, progress), "")
    missing = "".join(f", {count} left out: {why} at their time" for why, count in left_out(folder).items())
    return "\n".join([f"{len(recording.numbers)} frames{missing}", *_mark(folder)["notes"]])


SOURCE = Source(
    summary="A ROS 2 bag: its frames as the posed RGB-D folder OUT/frames, and pairs made from them.",
    path_help="rosbag2 folder, .mcap or .db3.",
    recordings=lambda path, frames, topics: [FolderRecording(frames, path.resolve().stem)],
    export=_export,
    options=BagTopics,
    path_name="BAG",
)
