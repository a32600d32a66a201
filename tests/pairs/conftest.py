"""Fixtures of pairs: a scene."""

from __future__ import annotations

import numpy as np
import pytest

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import back_project
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.pairs.scenes import Scene
from diff2i2p_core.rooms.room import camera_path, make_room


@pytest.fixture(scope="package")
def scene() -> Scene:
    """Three frames of a drawn room, 320x240, without noise."""
    camera = Camera(320, 240, 262.5, 262.5, 159.75, 119.75)
    room = make_room(5)
    poses = camera_path(room, 3, 5)
    frames = [room.render(camera, pose) for pose in poses]
    clouds = [
        transform_points(pose, back_project(depth, camera)[depth > 0])
        for (_, depth), pose in zip(frames, poses, strict=True)
    ]
    seen = np.concatenate([image[depth > 0] for image, depth in frames])
    cloud = PointCloud(np.concatenate(clouds).astype(np.float32), seen).thinned(0.025)
    return Scene(
        "room",
        camera,
        np.stack([image for image, _ in frames]),
        np.stack([(depth * 1000).astype(np.uint16) for _, depth in frames]),
        np.stack(poses),
        cloud,
    )
