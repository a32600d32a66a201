"""Changes of photos for training geometry features."""

from __future__ import annotations

import numpy as np

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.pairs.photo_changes import papered, relit

CAMERA = Camera(160, 120, 130.0, 130.0, 79.5, 59.5)
GREY = np.full((120, 160), 100, np.uint8)
PICTURES = np.random.default_rng(5).integers(0, 256, (2, 120, 160), np.uint8)


def room() -> np.ndarray:
    """A wall at 2 m and one at 3 m, and a part without depth."""
    depth = np.full((120, 160), 2.0, np.float32)
    depth[:, 80:] = 3.0
    depth[100:] = 0
    return depth


def test_surfaces_get_pictures_and_what_is_unknown_stays() -> None:
    depth = room()
    changed = 0
    for seed in range(20):
        photo = papered(GREY, depth, CAMERA, PICTURES, np.random.default_rng(seed))
        assert photo.shape == GREY.shape and np.isfinite(photo).all() and (photo >= 0).all()
        assert (photo[depth == 0] == 100).all()
        left, right = photo[20:90, 5:70], photo[20:90, 90:155]
        changed += left.std() > 5 or right.std() > 5
    assert changed > 12
    again = papered(GREY, depth, CAMERA, PICTURES, np.random.default_rng(19))
    assert np.array_equal(photo, again)


def test_a_picture_stays_on_its_surface() -> None:
    depth, on_one = room(), 0
    for seed in range(40):
        photo = papered(GREY, depth, CAMERA, PICTURES, np.random.default_rng(seed))
        left, right = (photo[20:90, part].std() > 5 for part in (slice(5, 70), slice(90, 155)))
        on_one += left != right
    assert on_one > 5


def test_without_depth_a_photo_stays() -> None:
    photo = papered(GREY, np.zeros((120, 160), np.float32), CAMERA, PICTURES, np.random.default_rng(0))
    assert np.array_equal(photo, GREY)


def test_relit_photos_are_finite() -> None:
    for seed in range(8):
        light = relit(GREY, np.random.default_rng(seed))
        assert np.isfinite(light).all() and (light >= 0).all() and light.max() <= 1.5
