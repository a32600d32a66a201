"""The map drawn into an image: where points must land, and which are hidden."""

from __future__ import annotations

import numpy as np
import pytest

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import compose, exp
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.reports.overlay import live_picture, overlay, overlay_parts, render_map, visible_pixels

CAMERA = Camera(320, 240, 262.5, 262.5, 159.5, 119.5)
VOXEL = 0.02


def plate(z: float, half: float, x: float = 0.0) -> np.ndarray:
    """A grid of points on a square facing the camera."""
    steps = np.arange(-half, half + 1e-6, VOXEL)
    grid = np.stack(np.meshgrid(steps + x, steps, [z]), -1).reshape(-1, 3)
    return grid.astype(np.float32)


def test_points_behind_a_surface_are_hidden_and_the_farthest_come_first() -> None:
    near, far = plate(1.0, 0.2), plate(2.0, 1.0)
    points = np.concatenate([near, far])
    indices, pixels, depth = visible_pixels(points, CAMERA, np.eye(4), VOXEL)
    assert (np.diff(depth) <= 1e-6).all()
    behind = np.abs(far[:, :2]).max(1) < 0.3
    assert not set(len(near) + np.flatnonzero(behind)) & set(indices.tolist())
    beside = np.abs(far[:, :2]).max(1) > 0.5
    assert np.isin(len(near) + np.flatnonzero(beside & (np.abs(far[:, 1]) < 0.8)), indices).mean() > 0.9
    assert CAMERA.contains(pixels, depth).all()


def test_the_rendered_map_shows_a_colour_where_its_point_projects() -> None:
    red, green = plate(1.5, 0.15, x=-0.3), plate(1.5, 0.15, x=0.3)
    points = np.concatenate([red, green])
    colors = np.array([[255, 0, 0]] * len(red) + [[0, 255, 0]] * len(green), np.uint8)
    map_from_camera = exp([0.1, -0.2, 0.05, 0.3, 0.1, -0.2])
    world = points @ map_from_camera[:3, :3].T.astype(np.float32) + map_from_camera[:3, 3].astype(np.float32)
    image = render_map(CAMERA, map_from_camera, PointCloud(world.astype(np.float32), colors), VOXEL)
    for x, channel in ((-0.3, 0), (0.3, 1)):
        (u, v), *_ = np.rint(CAMERA.project([[x, 0, 1.5]])[0]).astype(int)
        assert image[v, u, channel] == 255
    empty = image[20, 20]
    assert empty.max() < 60


def test_overlay_marks_only_where_the_map_is_and_keeps_the_rest_of_the_image() -> None:
    image = np.full((240, 320, 3), 120, np.uint8)
    points = plate(1.5, 0.2)
    drawn = overlay(image, CAMERA, np.eye(4), points, VOXEL)
    saturation = drawn.max(2).astype(int) - drawn.min(2)
    assert saturation[100:140, 140:180].max() > 80
    assert saturation[:60].max() == 0
    away = overlay(image, CAMERA, compose(np.diag([-1.0, 1, -1]), np.zeros(3)), points, VOXEL)
    assert (away.max(2).astype(int) - away.min(2)).max() == 0


@pytest.mark.parametrize("colored", [True, False])
def test_a_pose_has_three_pictures_of_at_most_480_pixels(colored: bool) -> None:
    big = CAMERA.scaled_to(960, 720)
    points = plate(1.5, 0.5)
    colors = np.full(points.shape, 200, np.uint8) if colored else None
    image = np.zeros((720, 960, 3), np.uint8)
    parts = overlay_parts(image, big, np.eye(4), PointCloud(points, colors), VOXEL)
    assert [picture.shape for _, picture in parts] == 3 * [(360, 480, 3)]
    assert [bool(picture.any()) for _, picture in parts] == [False, True, True]


@pytest.mark.parametrize("localized", [True, False])
def test_the_live_picture_shows_inliers_and_the_reason(localized: bool) -> None:
    """At most 640 wide; rings where the inliers are; the map only with a pose; the image stays as it was."""
    camera = CAMERA.scaled_to(960, 720)
    image = np.full((720, 960, 3), 128, np.uint8)
    points = plate(1.5, 0.4)
    found = Localization(
        localized=localized,
        reason="" if localized else "too few inliers (3, need 60)",
        map_from_camera=np.eye(4) if localized else None,
        covariance=np.eye(6) if localized else None,
        num_correspondences=100,
        num_inliers=80,
        inlier_ratio=0.8,
        reprojection_error_px=1.0,
        submap=0,
        latency_ms={},
        inlier_pixels=np.array([[750.0, 600.0]]),
        inlier_points=np.zeros((1, 3)),
    )
    picture = live_picture(found, image, camera, points, VOXEL)
    assert picture.shape == (480, 640, 3) and (image == 128).all()
    ring = picture[390:411, 490:511].astype(int)
    assert (ring.min(axis=2) > 200).any()
    colourful = np.ptp(picture[100:380, 100:540].astype(int), axis=2) > 60
    assert colourful.any() == localized
