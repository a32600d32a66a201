"""Writes the golden set: `PYTHONPATH=.:tests/helpers python tests/golden/make_golden_set.py [--room]`.

Make the numbers again where the network is meant to give others, and say so in the commit. `--room` draws the
inputs again, too.
"""

from __future__ import annotations

import sys

import numpy as np
from golden_set import (
    CONFIG,
    DRAWN,
    NUMBERS,
    NUMBERS_V2,
    ROOM,
    drawn_model,
    load_room,
    matched_rows,
    pose_numbers,
    released_step,
    room_pair,
    second_benchmark_numbers,
    stage_numbers,
    step_numbers,
)
from network_stages import run_stages

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import back_project
from diff2i2p_core.geometry.se3 import compose, invert, transform_points
from diff2i2p_core.geometry.voxels import voxel_means
from diff2i2p_core.losses.total import draw_correspondences
from diff2i2p_core.rooms.room import camera_path, make_room
from diff2i2p_core.rooms.sensors import kinect_noise

CAMERA = Camera(320, 240, 285, 285, 159.5, 119.5)
SEED, QUERY, FUSED = 2, 42, (38, 40, 41, 43, 44, 46)
"""The room, and the frames of a walk in it that make the image and the cloud."""
MIDDLE, POINTS = (0.1, 0.1, 2.1), 5000
"""The cloud is the points nearest to a place in front of the camera. The place is its origin, so that sums
of coordinates have either sign: the released KPConv rule looks at them."""


def write_room() -> None:
    """One image with depth, and a cloud fused of views around it."""
    room = make_room(SEED)
    poses = camera_path(room, 60, SEED)
    rng = np.random.default_rng(SEED)
    image, exact = room.render(CAMERA, poses[QUERY])
    depth_mm = np.rint(1000 * kinect_noise(exact, CAMERA, rng)).astype(np.uint16)
    center = transform_points(poses[QUERY], np.array([MIDDLE]))[0]
    cloud_from_world = invert(compose(poses[FUSED[0]][:3, :3], center))
    seen = []
    for number in FUSED:
        depth = kinect_noise(room.render(CAMERA, poses[number])[1], CAMERA, rng)
        visible = back_project(depth, CAMERA)[depth > 0]
        seen.append(transform_points(cloud_from_world @ poses[number], visible))
    cloud = voxel_means(np.concatenate(seen).astype(np.float32), CONFIG.points.voxel)
    inputs: dict[str, np.ndarray] = {
        "image": image,
        "depth_mm": depth_mm,
        "intrinsics": CAMERA.matrix,
        "cloud": cloud[np.sort(np.argsort(np.linalg.norm(cloud, axis=1))[:POINTS])],
        "camera_from_cloud": invert(cloud_from_world @ poses[QUERY]),
    }
    drawn = draw_correspondences(room_pair(inputs).targets, 256, rng)
    inputs |= {name: rows.numpy().astype(np.int32) for name, rows in zip(DRAWN, drawn, strict=True)}
    np.savez_compressed(ROOM, **inputs)  # type: ignore[arg-type]


def main() -> None:
    if "--room" in sys.argv[1:]:
        write_room()
    golden, model = load_room(), drawn_model()
    stages = run_stages(model, golden.pair)
    numbers = stage_numbers(golden.pair, stages) | pose_numbers(model, golden, stages)
    np.savez_compressed(NUMBERS_V2, **second_benchmark_numbers(model, stages))  # type: ignore[arg-type]
    numbers |= step_numbers(released_step(model, golden, matched_rows(numbers)))
    np.savez_compressed(NUMBERS, **numbers)  # type: ignore[arg-type]
    for path in (ROOM, NUMBERS, NUMBERS_V2):
        print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
