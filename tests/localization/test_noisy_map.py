"""A map from a cloud with a lidar's noise: depth is registered to its smoothed surface."""

from pathlib import Path

import numpy as np

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import is_near
from diff2i2p_core.io.fused_frames import fuse_frames
from diff2i2p_core.io.ply import write_ply
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.mapping.build_file import build_map
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames

CAMERA = Camera(320, 240, 262.5, 262.5, 159.5, 119.5)
NOISE = 0.03


def test_depth_is_registered_exactly_in_a_noisy_map(tmp_path: Path) -> None:
    poses = camera_path(make_room(20_003), 10, 20_003)
    write_frames(tmp_path, make_room(20_003), CAMERA, poses)
    frames = PosedFrames(tmp_path)
    exact = np.repeat(fuse_frames(frames, frames.numbers, 0.02).points, 8, axis=0)
    points = exact + np.random.default_rng(0).normal(0, NOISE, exact.shape)
    write_ply(tmp_path / "noisy.ply", PointCloud(points.astype(np.float32)))
    write_trajectory(tmp_path / "path.txt", [float(i) for i in range(10)], poses)
    notes = list[str]()
    build_map(
        tmp_path / "noisy.ply",
        tmp_path / "noisy.map",
        matcher="depth",
        trajectory=tmp_path / "path.txt",
        note=notes.append,
    )
    assert notes == ["the points are noisy, so they are smoothed"]
    localizer = Localizer.open(tmp_path / "noisy.map")
    for number in (2, 5, 8):
        frame = frames[number]
        found = localizer.localize(frame.image, frames.camera, depth=frames.registered_depth(frame))
        assert found.map_from_camera is not None, found.reason
        assert is_near(found.map_from_camera, poses[number], 0.02, 0.5)
