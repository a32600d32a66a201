"""Fusion and visibility on a real recording: the map must agree with frames outside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diff2i2p_core.geometry.depth import z_buffer
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import invert, transform_points
from diff2i2p_core.geometry.submaps import visible_points
from diff2i2p_core.io.fused_frames import fuse_frames
from diff2i2p_core.io.rgbd_folder import PosedFrames


@pytest.fixture(scope="module")
def fused(data_dir: Path) -> tuple[PosedFrames, PointCloud]:
    frames = PosedFrames(data_dir / "redkitchen")
    return frames, fuse_frames(frames, frames.numbers[0:60:4], spacing=0.025, stride=3)


def test_depth_and_colour_agree_with_another_frame(
    fused: tuple[PosedFrames, PointCloud],
) -> None:
    frames, cloud = fused
    points, colors = cloud.points, cloud.colors
    assert colors is not None
    frame = frames[30]
    camera_from_map = invert(frame.world_from_camera)
    seen = visible_points(points, camera_from_map, frames.camera, spacing=0.025, margin=0.0)
    assert len(seen) > 5000
    pixels, z = frames.camera.project(transform_points(camera_from_map, points[seen]))
    inside = frames.camera.contains(pixels, z)
    columns, rows = np.rint(pixels[inside]).astype(int).T
    depth = frames.registered_depth(frame)[rows, columns]
    known = depth > 0
    error = z[inside][known] - depth[known]
    assert abs(np.median(error)) < 0.01
    assert (np.abs(error) < 0.05).mean() > 0.85
    difference = np.abs(colors[seen][inside].astype(float) - frame.image[rows, columns].astype(float)).mean(
        axis=1
    )
    assert np.median(difference) < 20


def test_what_is_hidden_in_the_depth_image_is_removed(
    fused: tuple[PosedFrames, PointCloud],
) -> None:
    frames, cloud = fused
    points = cloud.points
    frame = frames[30]
    camera_from_map = invert(frame.world_from_camera)
    in_camera = transform_points(camera_from_map, points)
    pixels, z = frames.camera.project(in_camera)
    inside = frames.camera.contains(pixels, z)
    # the surface that the depth camera saw, at a quarter of the resolution
    small = frames.camera.scaled_to(160, 120)
    front = z_buffer(frames.points(frame)[0], small)
    small_pixels, _ = small.project(in_camera[inside])
    columns, rows = np.clip(np.rint(small_pixels).astype(int), 0, [159, 119]).T
    behind = front[rows, columns]
    hidden = (behind > 0) & (z[inside] > behind + 0.3) & (z[inside] < 5)
    plain = (behind > 0) & (np.abs(z[inside] - behind) < 0.03)
    seen = np.isin(
        np.flatnonzero(inside), visible_points(points, camera_from_map, frames.camera, spacing=0.025)
    )
    assert hidden.sum() > 200
    assert seen[hidden].mean() < 0.15
    assert seen[plain].mean() > 0.9
