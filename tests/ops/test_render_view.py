"""Views rendered from a cloud: known answers, a reference by brute force, a real recording."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import compose, invert, transform_points
from diff2i2p_core.io.fused_frames import fuse_frames
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.ops.render_view import REACH, RenderedView, render_view

CAMERA = Camera(120, 90, 110.0, 108.0, 58.3, 45.9)
RED, BLUE = (220, 30, 20), (10, 40, 200)
IDENTITY = np.eye(4)


def wall(
    depth: float, spacing: float, low: tuple[float, float], high: tuple[float, float]
) -> NDArray[np.float32]:
    """Points of a wall that faces the camera, from corner to corner (x, y), a little off a grid."""
    x, y = np.meshgrid(np.arange(low[0], high[0], spacing), np.arange(low[1], high[1], spacing))
    points = np.stack([x, y, np.full_like(x, depth)], axis=-1).reshape(-1, 3)
    points[:, :2] += np.random.default_rng(0).uniform(-0.2, 0.2, (len(points), 2)) * spacing
    return points.astype(np.float32)


def painted(*parts: tuple[NDArray[np.float32], tuple[int, int, int]]) -> PointCloud:
    return PointCloud(
        np.concatenate([points for points, _ in parts]),
        np.concatenate([np.tile(np.array(color, np.uint8), (len(points), 1)) for points, color in parts]),
    )


def test_a_wall_hides_another_wall() -> None:
    near, far = wall(1.5, 0.02, (-0.3, -0.2), (0.3, 0.2)), wall(3.0, 0.02, (-3, -3), (3, 3))
    view = render_view(painted((far, BLUE), (near, RED)), IDENTITY, CAMERA, 0.02)
    corners, _ = CAMERA.project([[-0.3, -0.2, 1.5], [0.3, 0.2, 1.5]])
    (left, top), (right, bottom) = np.rint(corners).astype(int)
    inner = np.s_[top + 2 : bottom - 2, left + 2 : right - 2]
    assert (view.image[inner] == RED).all()
    np.testing.assert_allclose(view.depth[inner], 1.5, rtol=1e-6)
    outside = np.ones(view.depth.shape, bool)
    outside[top - 3 : bottom + 4, left - 3 : right + 4] = False
    assert (view.image[outside] == BLUE).all()
    np.testing.assert_allclose(view.depth[outside], 3.0, rtol=1e-6)


@pytest.mark.parametrize("depth", [0.3, 0.6, 2.0, 6.0])
def test_surfaces_at_any_distance_have_no_holes(depth: float) -> None:
    """Points are 7 to 0.4 pixels apart; the wall behind never shows, not even at the borders."""
    near, far = wall(depth, 0.02, (-4, -4), (4, 4)), wall(depth + 1, 0.02, (-5, -5), (5, 5))
    view = render_view(painted((far, BLUE), (near, RED)), IDENTITY, CAMERA, 0.02)
    np.testing.assert_allclose(view.depth[view.depth > 0], depth, rtol=1e-6)
    assert (view.depth[10:-10, 10:-10] > 0).all()
    assert (view.image == RED).all()


def test_small_holes_are_filled_and_large_ones_are_not() -> None:
    points = wall(2.0, 0.02, (-2, -2), (2, 2))
    small = np.abs(points[:, :2] - [-0.5, 0]).max(axis=1) < 0.015
    large = np.abs(points[:, :2] - [0.4, 0]).max(axis=1) < 0.3
    view = render_view(painted((points[~(small | large)], RED)), IDENTITY, CAMERA, 0.02)
    (filled, empty), _ = CAMERA.project([[-0.5, 0, 2], [0.4, 0, 2]])
    assert view.depth[round(filled[1]), round(filled[0])] == pytest.approx(2.0)
    assert view.depth[round(empty[1]), round(empty[0])] == 0
    assert 0.1 < (view.depth == 0).sum() / (0.6 * CAMERA.fx / 2) ** 2 < 1
    assert (view.image == RED).all()  # colours continue there


def test_each_pixel_takes_the_nearest_pixel_that_has_a_point() -> None:
    """All distances, by brute force. Every point has its own depth, which names it."""
    rng = np.random.default_rng(1)
    points = np.stack([*rng.uniform([-1.2, -1], [1.2, 0.6], (250, 2)).T, rng.uniform(2, 2.01, 250)], axis=1)
    cloud = painted((points.astype(np.float32), RED))
    view = render_view(cloud, IDENTITY, CAMERA, 0.05)
    pixels, z = CAMERA.project(cloud.points)
    seen = CAMERA.contains(pixels, z)
    taken = np.asarray(np.unique(np.rint(pixels[seen]), axis=0))
    u, v = np.meshgrid(np.arange(CAMERA.width), np.arange(CAMERA.height))
    distance = np.hypot(u[..., None] - taken[:, 0], v[..., None] - taken[:, 1]) + 1e-9
    reach = REACH * 0.05 * CAMERA.fx / 2
    sure = np.abs(distance.min(axis=2) - reach) > 0.03 * reach  # OpenCV's distances are a little off
    np.testing.assert_array_equal((view.depth > 0)[sure], (distance.min(axis=2) < reach)[sure])
    in_pixel = np.all(np.rint(pixels[seen])[:, None] == taken, axis=2)
    inverse_depth = (in_pixel / z[seen][:, None]).sum(axis=0) / in_pixel.sum(axis=0)
    shown = view.depth > 0
    taken_from = np.abs(1 / view.depth[shown][:, None] - inverse_depth) < 2e-7
    chosen = np.where(taken_from, distance[shown], np.inf).min(axis=1)
    assert (chosen < distance[shown].min(axis=1) * 1.05).all()


def test_points_of_one_pixel_are_averaged() -> None:
    points = np.array([[0, 0, 4], [0.001, 0.001, 4]], np.float32)
    colors = np.array([[10, 20, 30], [30, 60, 90]], np.uint8)
    view = render_view(PointCloud(points, colors), IDENTITY, CAMERA, 0.05)
    (pixel,), _ = CAMERA.project([[0, 0, 4]])
    assert view.image[round(pixel[1]), round(pixel[0])].tolist() == [20, 40, 60]


def test_edges_lie_where_the_projection_says() -> None:
    """A dense grey checkerboard: the positions of its edges, to a fraction of a pixel."""
    camera = Camera(160, 120, 150.0, 150.0, 79.27, 59.81)
    square, depth = 0.25, 1.7
    points = wall(depth, 0.003, (-1.2, -1.0), (1.2, 1.0))
    squares = np.floor(points[:, :2] / square).astype(int).sum(axis=1) % 2
    cloud = PointCloud(points, np.tile((255 * squares)[:, None], (1, 3)).astype(np.uint8))
    image = render_view(cloud, IDENTITY, camera, 0.003).image[..., 0] / 255.0
    v, u = np.indices(image.shape)
    x, y = (u - camera.cx) / camera.fx * depth, (v - camera.cy) / camera.fy * depth
    expected = (np.floor(x / square) + np.floor(y / square)) % 2
    to_edge = np.stack([np.abs(c - square * np.rint(c / square)) * camera.fx / depth for c in (x, y)])
    at_corner = to_edge.max(axis=0) < 1  # the median filter rounds them off
    assert not (np.abs(image - expected) > 0.5)[(to_edge.min(axis=0) > 0.5) & ~at_corner].any()
    rows = slice(round(camera.cy) + 4, round(camera.cy) + 14)  # inside one row of squares
    profile = image[rows, round(camera.cx) - 10 : round(camera.cx) + 11].mean(axis=0)
    dark_first = profile if profile[0] < profile[-1] else 1 - profile
    edge = round(camera.cx) + 10 - dark_first.sum() + 0.5
    assert edge == pytest.approx(camera.cx, abs=0.25)


def test_pixels_give_the_points_that_they_show() -> None:
    """From an arbitrary pose, with large map coordinates."""
    cloud_from_camera = compose(
        Rotation.from_euler("xyz", [20, -30, 50], degrees=True).as_matrix(), [900, -70, 3]
    )
    points = wall(2.0, 0.02, (-2, -2), (0.5, 2))
    moved = transform_points(cloud_from_camera, points).astype(np.float32)
    view = render_view(painted((moved, RED)), invert(cloud_from_camera), CAMERA, 0.02)
    pixels = np.array([[10, 20], [60.4, 45.2], [115, 10], [-1, 5], [50, 200]])
    found, shown = view.points_at(pixels)
    assert shown.tolist() == [True, True, False, False, False]
    in_camera = transform_points(invert(cloud_from_camera), found[:2])
    np.testing.assert_allclose(in_camera[:, 2], 2.0, atol=1e-3)
    np.testing.assert_allclose(CAMERA.project(in_camera)[0], pixels[:2], atol=1e-6)


def test_points_have_the_depth_of_their_own_pixel() -> None:
    depth = np.random.default_rng(0).uniform(1, 3, (90, 120)).astype(np.float32)
    view = RenderedView(np.zeros((90, 120), np.uint8), depth, CAMERA, IDENTITY)
    pixels = np.random.default_rng(1).uniform([-0.4, -0.4], [119.4, 89.4], (50, 2))
    points, shown = view.points_at(pixels)
    columns, rows = np.rint(pixels).astype(int).T
    np.testing.assert_allclose(points[:, 2], depth[rows, columns])
    assert shown.all()


def test_only_depths_in_the_range_are_seen() -> None:
    cloud = painted((wall(1.0, 0.02, (-2, -2), (2, 2)), RED), (wall(3.0, 0.02, (-4, -4), (4, 4)), BLUE))
    assert (render_view(cloud, IDENTITY, CAMERA, 0.02, min_depth=1.5).image == BLUE).all()
    behind = compose(np.eye(3), [0, 0, -5])
    nothing = render_view(cloud, behind, CAMERA, 0.02)
    assert not nothing.depth.any() and not nothing.image.any()
    assert not render_view(cloud, IDENTITY, CAMERA, 0.02, max_depth=0.9).depth.any()
    assert not render_view(cloud.take(slice(0)), IDENTITY, CAMERA, 0.02).depth.any()
    assert not nothing.points_at(np.array([[5, 5]]))[1].any()


def test_intensity_gives_a_grey_image() -> None:
    points = wall(2.0, 0.02, (-3, -3), (3, 3))
    grey = np.random.default_rng(0).integers(0, 256, len(points)).astype(np.uint8)
    of_intensity = render_view(PointCloud(points, intensity=grey), IDENTITY, CAMERA, 0.02)
    of_colors = render_view(PointCloud(points, np.repeat(grey[:, None], 3, axis=1)), IDENTITY, CAMERA, 0.02)
    assert of_intensity.image.shape == (90, 120)
    np.testing.assert_array_equal(of_colors.image, np.repeat(of_intensity.image[..., None], 3, axis=2))
    with pytest.raises(InputError, match="neither colours nor intensity"):
        render_view(PointCloud(points), IDENTITY, CAMERA, 0.02)


def test_a_real_frame_looks_like_its_photograph(data_dir: Path) -> None:
    frames = PosedFrames(data_dir / "tum_fr3_teddy")
    held_out = 24
    numbers = [frames.numbers[i] for i in range(16, 34, 2) if i != held_out]
    cloud = fuse_frames(frames, numbers, 0.02)
    frame = frames[held_out]
    camera = frames.camera.scaled_to(320, 240)
    view = render_view(cloud, invert(frame.world_from_camera), camera, 0.02)
    photo = cv2.resize(frame.image, (320, 240), interpolation=cv2.INTER_AREA)
    measured = cv2.resize(frame.depth, (320, 240), interpolation=cv2.INTER_NEAREST)
    both = (view.depth > 0) & (measured > 0)
    assert both.mean() > 0.4
    assert np.median(np.abs(view.depth - measured)[both]) < 0.02

    def likeness(shift: int) -> float:
        shifted = np.roll(photo, shift, axis=1).mean(axis=2)
        return float(np.corrcoef(view.image.mean(axis=2)[both], shifted[both])[0, 1])

    assert likeness(0) > 0.85
    assert max((-8, -4, 0, 4, 8), key=likeness) == 0
