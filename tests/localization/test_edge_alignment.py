"""Alignment of poses to the edges of images, in drawn rooms."""

from __future__ import annotations

import numpy as np
import pytest

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.covariance import difference, perturb
from diff2i2p_core.geometry.se3 import rotation_error_deg, translation_error
from diff2i2p_core.localization.edge_alignment import ImageEdges
from diff2i2p_core.ops.shape_edges import ShapeEdges, shape_edges
from diff2i2p_core.rooms.room import Room, camera_path, make_room
from diff2i2p_core.typing import Array, Image

CAMERA = Camera(320, 240, 260.0, 260.0, 159.5, 119.5)
OFF = np.array([0.06, -0.05, 0.05, 0.01, -0.015, 0.01])
COVARIANCE = np.diag([0.1**2] * 3 + [0.03**2] * 3)


@pytest.fixture(scope="module")
def room() -> Room:
    return make_room(20_003)


@pytest.fixture(scope="module")
def path(room: Room) -> list[Array]:
    return camera_path(room, 6, 20_003)


def edges_from(room: Room, pose: Array) -> ShapeEdges:
    return shape_edges(room.scene.render(CAMERA, pose)[1].astype(np.float32), CAMERA)


def image_from(room: Room, pose: Array) -> Image:
    return np.asarray(np.rint(room.scene.render(CAMERA, pose)[0]), np.uint8)


def test_edges_are_where_the_shape_changes_and_on_the_nearer_surface() -> None:
    depth = np.full((240, 320), 3.0, np.float32)
    depth[80:160, 120:200] = 2.0  # a box in front of a wall
    depth[:, 300:] = 0
    points, across = shape_edges(depth, CAMERA)
    assert 150 < len(points) < 700 and np.allclose(points[:, 2], 2)
    pixels = CAMERA.project(points)[0]
    beside = np.minimum(np.abs(pixels[:, 0, None] - [119.5, 199.5]).min(1),
                        np.abs(pixels[:, 1, None] - [79.5, 159.5]).min(1))  # fmt: skip
    assert beside.max() < 4
    vertical = np.abs(pixels[:, 1] - 120) < 25
    assert (np.abs(across[vertical, 0]) > 0.9).all()
    slanted = (2 + 0.01 * np.arange(320, dtype=np.float32))[None].repeat(240, axis=0)
    assert not len(shape_edges(slanted, CAMERA).points)
    assert not len(shape_edges(np.zeros((240, 320), np.float32), CAMERA).points)


def test_poses_come_nearer_to_the_truth(room: Room, path: list[Array]) -> None:
    before, after = [], []
    for truth in path:
        start = perturb(truth, OFF)
        target = ImageEdges(image_from(room, truth), CAMERA)
        found, covariance = target.align(edges_from(room, start), start, COVARIANCE)
        before.append((translation_error(start, truth), rotation_error_deg(start, truth)))
        after.append((translation_error(found, truth), rotation_error_deg(found, truth)))
        assert (np.diag(covariance) <= np.diag(COVARIANCE) + 1e-12).all()
    metres, degrees = np.median(after, axis=0) / np.median(before, axis=0)
    assert metres < 0.6 and degrees < 0.6


def test_without_edges_in_the_image_nothing_changes(room: Room, path: list[Array]) -> None:
    blank = ImageEdges(np.full((240, 320, 3), 128, np.uint8), CAMERA)
    pose, covariance = blank.align(edges_from(room, path[0]), path[0], COVARIANCE)
    assert pose is path[0] and covariance is COVARIANCE


def test_edges_that_contradict_the_features_are_left(room: Room, path: list[Array]) -> None:
    start, sure = perturb(path[0], OFF), COVARIANCE * 0.05**2
    target = ImageEdges(image_from(room, path[0]), CAMERA)
    pose, _ = target.align(edges_from(room, start), start, sure)
    moved = difference(pose, start)
    assert moved @ np.linalg.inv(sure) @ moved < 12.6


def test_a_render_without_edges_changes_nothing(room: Room, path: list[Array]) -> None:
    target = ImageEdges(image_from(room, path[0]), CAMERA)
    none = ShapeEdges(np.zeros((0, 3)), np.zeros((0, 2)))
    pose, covariance = target.align(none, path[0], COVARIANCE)
    assert pose is path[0] and covariance is COVARIANCE
