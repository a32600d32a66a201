"""A bag of two cameras on one body, made from the frames of one camera: the frame some numbers later stands
for a second camera at its true place.

    PYTHONPATH=tests/helpers python -m rig_bag FOLDER OUT --apart 2 --blocks 12

writes OUT/bag from every second block of frames, and OUT/map_frames, links to the others, to make a map of.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
from bag_writer import (
    BASE_FROM_CAMERA,
    START,
    Sent,
    camera_info,
    image,
    pose_stamped,
    tf,
    transform,
    write_bag,
)

from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.typing import Image

FRONT, LEFT = "/front/image_raw", "/left/image_raw"
LATER = 3_000_000
"""Nanoseconds from the first camera's image to the second's, within the tolerance of a rig."""


def two_cameras(
    frames: PosedFrames,
    numbers: Sequence[int],
    apart: int,
    *,
    period: float,
    seen: Callable[[str, int, Image], Image] = lambda topic, number, pixels: pixels,
) -> list[Sent]:
    """At each number, the frame of that number on FRONT and the one `apart` later on LEFT, `period` seconds a
    number. TF holds base_link -> front and, at each image, base_link -> left; /gt the poses of the front
    camera. `seen` can replace images."""
    index_of = {number: index for index, number in enumerate(frames.numbers)}
    sent = [Sent("/tf_static", START - 10**9, tf(transform(0, "base_link", "front", BASE_FROM_CAMERA)))]
    for number in numbers:
        stamp = START + round(number * period * 1e9)
        front, left = frames[index_of[number]], frames[index_of[number + apart]]
        moved = invert(front.world_from_camera) @ left.world_from_camera
        for at in (stamp, stamp + LATER):
            sent.append(Sent("/gt", at, pose_stamped(at, "map", front.world_from_camera)))
        link = transform(stamp + LATER, "base_link", "left", BASE_FROM_CAMERA @ moved)
        sent.append(Sent("/tf", stamp + LATER, tf(link)))
        for topic, at, frame in ((FRONT, stamp, front), (LEFT, stamp + LATER, left)):
            name = topic.split("/")[1]
            sent.append(Sent(f"/{name}/camera_info", at, camera_info(at, name, frames.camera)))
            pixels = seen(topic, number, frame.image)
            sent.append(Sent(topic, at, image(at, name, pixels, "rgb8")))
    return sent


def blank(topic: str, numbers: Collection[int]) -> Callable[[str, int, Image], Image]:
    """The camera of a topic sees a plain wall at these numbers."""

    def seen(other: str, number: int, pixels: Image) -> Image:
        return np.full_like(pixels, 170) if other == topic and number in numbers else pixels

    return seen


def in_blocks(numbers: Sequence[int], length: int, apart: int) -> tuple[list[int], list[int]]:
    """The numbers of every second block, to make a map of; and those of the others whose second frame,
    `apart` later, is in the same block."""
    known = set(numbers)
    queries = [
        n
        for n in numbers
        if (n // length) % 2 and n + apart in known and (n + apart) // length == n // length
    ]
    return [n for n in numbers if not (n // length) % 2], queries


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="posed RGB-D folder")
    parser.add_argument("out", type=Path, help="folder for the bag, and for links to the frames of the map")
    parser.add_argument("--apart", type=int, default=2, help="frames from the first camera to the second")
    parser.add_argument("--blocks", type=int, default=12, help="frames in a block; they are queries by turns")
    parser.add_argument("--step", type=int, default=1, help="every how many of the queries are in the bag")
    parser.add_argument("--period", type=float, default=0.2, help="seconds from frame to frame")
    parser.add_argument("--cover", action="store_true", help="cover a quarter of every image")
    args = parser.parse_args()
    frames = PosedFrames(args.folder)
    of_map, queries = in_blocks(frames.numbers, args.blocks, args.apart)
    queries = queries[:: args.step]
    links = args.out / "map_frames"
    links.mkdir(parents=True)
    files = [args.folder / "camera-intrinsics.txt"]
    files += [path for number in of_map for path in args.folder.glob(f"frame-{number:06d}.*")]
    for path in files:
        (links / path.name).symlink_to(path.resolve())
    seen = covered if args.cover else lambda topic, number, pixels: pixels
    sent = two_cameras(frames, queries, args.apart, period=args.period, seen=seen)
    print(f"{write_bag(args.out / 'bag', sent)}: {len(queries)} moments; map: {len(of_map)} frames")


def covered(topic: str, number: int, pixels: Image) -> Image:
    """The middle quarter of an image is black."""
    height, width = pixels.shape[:2]
    dark: Image = pixels.copy()
    dark[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 0
    return dark


if __name__ == "__main__":
    main()
