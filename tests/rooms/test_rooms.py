"""Synthetic rooms: exact depth, colours where geometry says, determinism, agreement between views."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from diff2i2p_core.demo.sample import ROOM_SEED
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import back_project
from diff2i2p_core.geometry.se3 import compose, invert, transform_points
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.rooms.ray_casting import Rectangle, Scene
from diff2i2p_core.rooms.room import TRAIN_SEEDS, Room, camera_path, make_room, room_seeds, write_frames
from diff2i2p_core.rooms.sensors import LIDAR_NOISE, lidar_noise

CAMERA = Camera(160, 120, 131.25, 131.25, 79.5, 59.5)
LOOK_ALONG_Y = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


@pytest.fixture(scope="module")
def room() -> Room:
    return make_room(5)


def wall(texture: np.ndarray, distance: float = 3.0) -> Rectangle:
    """A 4 m x 3 m wall across the y axis, seen from the origin side, upright and not mirrored."""
    return Rectangle(np.array([-2.0, distance, 1.5]), np.array([4.0, 0, 0]), np.array([0, 0, -3.0]), texture)


def test_depth_is_the_distance_of_a_wall_seen_straight_on() -> None:
    scene = Scene([wall(np.full((30, 40, 3), 200, np.uint8))], lamp=(0, 0, 2))
    _, depth = scene.render(CAMERA, compose(LOOK_ALONG_Y, (0, 0.5, 0)))
    np.testing.assert_allclose(depth[depth > 0], 2.5, atol=1e-5)
    assert depth[60, 80] > 0


def test_depth_of_a_slanted_view_matches_the_ray_plane_distance() -> None:
    scene = Scene([wall(np.full((30, 40, 3), 200, np.uint8))], lamp=(0, 0, 2))
    angle = np.radians(30)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    pose = compose(turn @ LOOK_ALONG_Y, (0.3, 0.2, -0.1))
    _, depth = scene.render(CAMERA, pose)
    world = transform_points(pose, back_project(depth, CAMERA)[depth > 0])
    np.testing.assert_allclose(world[:, 1], 3.0, atol=1e-5)
    assert len(world) > 5000
    assert depth[depth > 0].max() - depth[depth > 0].min() > 0.5


def test_a_coloured_spot_is_seen_where_its_point_projects() -> None:
    texture = np.full((60, 80, 3), 40, np.uint8)
    texture[8:12, 60:64] = (250, 30, 20)
    scene = Scene([wall(texture)], lamp=(0, 0, 2), ambient=1.0)
    pose = compose(LOOK_ALONG_Y, (0.1, 0.0, 0.05))
    image, _ = scene.render(CAMERA, pose)
    # The spot's middle: column 62 of 80 over 4 m from x = -2, row 10 of 60 over 3 m down from z = 1.5.
    pixel, _ = CAMERA.project(transform_points(invert(pose), [[62 / 80 * 4 - 2, 3.0, 1.5 - 10 / 60 * 3]]))
    u, v = np.rint(pixel[0]).astype(int)
    assert image[v, u, 0] > 200 and image[v, u, 1] < 60
    mirrored = image[v, CAMERA.width - 1 - u]
    assert mirrored[0] < 60


def test_the_nearer_surface_hides_the_farther_and_backs_are_not_drawn() -> None:
    red, blue = (np.full((8, 8, 3), color, np.uint8) for color in ((255, 0, 0), (0, 0, 255)))
    far, near = wall(red, 3.0), wall(blue, 2.0)
    back = Rectangle(np.array([2.0, 1.0, 1.5]), np.array([-4.0, 0, 0]), np.array([0, 0, -3.0]), blue)
    for order in ([far, near, back], [back, near, far]):
        image, depth = Scene(order, lamp=(0, 0, 1)).render(CAMERA, compose(LOOK_ALONG_Y, (0, 0, 0)))
        assert depth[60, 80] == pytest.approx(2.0, abs=1e-5)
        assert image[60, 80, 2] > image[60, 80, 0]


def test_a_mask_cuts_holes() -> None:
    solid = np.zeros((8, 8), bool)
    solid[:, :4] = True
    near = wall(np.full((8, 8, 3), 90, np.uint8), 2.0)
    near = Rectangle(near.origin, near.edge_u, near.edge_v, near.texture, solid)
    scene = Scene([near, wall(np.full((8, 8, 3), 90, np.uint8))], lamp=(0, 0, 1))
    _, depth = scene.render(CAMERA, compose(LOOK_ALONG_Y, (0, 0, 0)))
    assert depth[60, 40] == pytest.approx(2.0, abs=1e-5)
    assert depth[60, 120] == pytest.approx(3.0, abs=1e-5)


def test_a_seed_gives_the_same_room_walk_and_picture(room: Room) -> None:
    again = make_room(5)
    poses, repeated = camera_path(room, 8, 1), camera_path(again, 8, 1)
    np.testing.assert_array_equal(poses, repeated)
    image, depth = room.render(CAMERA, poses[3])
    image_again, depth_again = again.render(CAMERA, poses[3])
    np.testing.assert_array_equal(image, image_again)
    np.testing.assert_array_equal(depth, depth_again)
    assert make_room(6).width != room.width


def test_two_views_back_project_to_the_same_surfaces(room: Room) -> None:
    poses = camera_path(room, 12, 2)
    _, first = room.render(CAMERA, poses[0])
    _, second = room.render(CAMERA, poses[4])
    assert (first > 0).all(), "a closed room leaves no hole"
    seen = transform_points(invert(poses[4]) @ poses[0], back_project(first, CAMERA).reshape(-1, 3))
    pixels, z = CAMERA.project(seen)
    inside = CAMERA.contains(pixels, z)
    # Inverse depth is linear over a plane's picture, so bilinear interpolation of it is exact there.
    inverse = 1 / second
    u, v = pixels[inside].astype(np.float32).T
    predicted = 1 / cv2.remap(inverse, u[None], v[None], cv2.INTER_LINEAR)[0]
    bend = np.abs(cv2.Laplacian(inverse, cv2.CV_32F, ksize=1))
    usable = cv2.dilate(bend, np.ones((3, 3)))[np.rint(v).astype(int), np.rint(u).astype(int)] < 1e-4
    error = np.abs(z[inside] - predicted)[usable]
    assert usable.mean() > 0.5 and usable.sum() > 1000
    assert np.percentile(error, 90) < 0.001


def test_a_walk_stays_clear_and_moves_smoothly(room: Room) -> None:
    poses = np.stack(camera_path(room, 60, 3))
    assert room.clearance_at(poses[:, :2, 3]).min() > 0.3
    assert ((poses[:, 2, 3] >= 1.2 - 1e-6) & (poses[:, 2, 3] <= 1.7 + 1e-6)).all()
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    assert steps.max() < 0.16
    assert np.linalg.norm(np.ptp(poses[:, :2, 3], axis=0)) > 0.5
    np.testing.assert_allclose(
        poses[:, :3, :3] @ poses[:, :3, :3].transpose(0, 2, 1), np.eye(3)[None].repeat(60, 0), atol=1e-9
    )
    np.testing.assert_allclose(np.linalg.det(poses[:, :3, :3]), 1)


def test_written_frames_read_back_and_an_interrupted_run_resumes(room: Room, tmp_path: Path) -> None:
    poses = camera_path(room, 4, 4)
    write_frames(tmp_path, room, CAMERA, poses[:2], noise=False)
    kept = (tmp_path / "frame-000001.color.jpg").stat().st_mtime_ns
    write_frames(tmp_path, room, CAMERA, poses, noise=False)
    assert (tmp_path / "frame-000001.color.jpg").stat().st_mtime_ns == kept
    frames = PosedFrames(tmp_path)
    assert frames.numbers == [0, 1, 2, 3]
    frame = frames[2]
    image, depth = room.render(CAMERA, poses[2])
    np.testing.assert_allclose(frame.world_from_camera, poses[2], atol=1e-8)
    seen = (depth > 0) & (depth < 6)
    np.testing.assert_allclose(frame.depth[seen], depth[seen], atol=0.00051)
    assert np.abs(frame.image.astype(int) - image).mean() < 6


def test_sensor_noise_is_a_kinects(room: Room, tmp_path: Path) -> None:
    poses = camera_path(room, 1, 4)
    write_frames(tmp_path, room, CAMERA, poses)
    measured = PosedFrames(tmp_path)[0].depth
    _, depth = room.render(CAMERA, poses[0])
    both = (measured > 0) & (depth < 6)
    error = (measured - depth)[both]
    assert 0.5 < both.mean() <= 1
    assert abs(np.median(error)) < 0.01
    assert 0.001 < np.median(np.abs(error)) < 0.05


@pytest.mark.parametrize("distance", [1.0, 6.0])
def test_a_lidars_noise_is_along_the_ray_and_does_not_grow(distance: float) -> None:
    camera = Camera(320, 240, 262.5, 262.5, 159.75, 119.75)
    exact = np.full((240, 320), distance, np.float32)
    measured = lidar_noise(exact, camera, np.random.default_rng(0))
    seen = measured > 0
    # 0.7 degrees are 3.2 rows of 1 / 262.5 rad in the middle.
    assert seen[100:140, 140:180].mean() == pytest.approx(0.95 / 3.2, rel=0.1)
    rays = np.linalg.norm(back_project(np.ones_like(exact), camera), axis=-1)
    error = ((measured - exact) * rays)[seen]
    assert abs(error.mean()) < 0.001
    assert error.std() == pytest.approx(LIDAR_NOISE, rel=0.05)


def test_frames_of_a_lidar_have_lines(room: Room, tmp_path: Path) -> None:
    write_frames(tmp_path, room, CAMERA, camera_path(room, 1, 4), sensor="lidar")
    measured = PosedFrames(tmp_path)[0].depth > 0
    middle = measured[:, 80]
    assert 0.3 < middle.mean() < 0.8
    assert not (middle[2:] & middle[1:-1] & middle[:-2]).any()


def test_no_room_is_for_training_and_for_tests() -> None:
    assert room_seeds("100:160", "train") == range(100, 160)
    assert room_seeds("0:100", "test") == range(100)
    assert ROOM_SEED not in TRAIN_SEEDS
    with pytest.raises(InputError, match="seeds '90:160': 90 is not for train; 100 to 9999 are for training"):
        room_seeds("90:160", "train")
    with pytest.raises(InputError, match="100 is not for test"):
        room_seeds("40:101", "test")
    with pytest.raises(InputError, match="write first:end"):
        room_seeds("160", "train")
