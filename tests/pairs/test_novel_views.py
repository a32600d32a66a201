"""New views by depth: the same pose gives the same image, and a known scene the known image."""

from __future__ import annotations

import numpy as np

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import exp, invert
from diff2i2p_core.pairs.novel_views import novel_view
from diff2i2p_core.rooms.room import camera_path, make_room

CAMERA = Camera(320, 240, 262.5, 262.5, 159.75, 119.75)


def test_an_unmoved_camera_sees_the_same_image() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (240, 320, 3), dtype=np.uint8)
    depth = np.linspace(1, 3, 240 * 320, dtype=np.float32).reshape(240, 320)
    depth[:, :20] = 0
    same, same_depth = novel_view(image, depth, CAMERA, np.eye(4))
    np.testing.assert_array_equal(same, image)
    np.testing.assert_allclose(same_depth, depth, atol=1e-5)


def test_a_rendered_room_seen_from_elsewhere() -> None:
    room = make_room(5)
    pose = camera_path(room, 1, 5)[0]
    image, depth = room.render(CAMERA, pose)
    target_from_source = exp([0.02, -0.05, 0.01, 0.1, -0.05, -0.2])
    expected, expected_depth = room.render(CAMERA, pose @ invert(target_from_source))
    moved, moved_depth = novel_view(image, depth, CAMERA, target_from_source)
    seen = (moved_depth > 0) & (expected_depth > 0)
    assert seen.mean() > 0.7
    assert np.median(np.abs(moved_depth - expected_depth)[seen]) < 0.01
    assert np.median(np.abs(moved.astype(int) - expected)[seen]) < 12


def test_an_image_without_depth_stays() -> None:
    image = np.full((240, 320, 3), 7, np.uint8)
    nothing = np.zeros((240, 320), np.float32)
    assert novel_view(image, nothing, CAMERA, exp([0, 0, 0, 1, 0, 0]))[0] is image
