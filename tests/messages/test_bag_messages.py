"""Messages of a bag to images and cameras."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from bag_writer import camera_info, image

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.messages.cameras import camera_of
from diff2i2p_core.messages.images import image_of

RAMP = np.broadcast_to(np.linspace(20, 220, 64, dtype=np.uint8)[None, :, None], (48, 64, 3))


def packed(encoding: str) -> np.ndarray:
    """A grey ramp as 4:2:2: U, Y, V, Y of two pixels, or Y first."""
    grey = cv2.cvtColor(np.ascontiguousarray(RAMP), cv2.COLOR_RGB2YUV)[..., 0]
    pairs = np.full((48, 64, 2), 128, np.uint8)
    pairs[..., 1 if encoding in ("uyvy", "yuv422") else 0] = grey
    return pairs


@pytest.mark.parametrize("encoding", ["uyvy", "yuv422", "yuyv", "yuv422_yuy2"])
def test_images_with_half_the_colour(encoding: str) -> None:
    rgb = image_of(image(0, "camera", packed(encoding), encoding), "image 0")
    assert rgb.shape == (48, 64, 3) and np.ptp(rgb, axis=2).max() == 0
    gain = np.polyfit(RAMP[0, :, 0].astype(float), rgb[0, :, 0].astype(float), 1)[0]
    assert 1.0 < gain < 1.3  # video range


def test_rectified_images_have_the_projection_matrix() -> None:
    message = camera_info(0, "camera", Camera(64, 48, 60, 60, 31.5, 23.5, "plumb_bob", (0.1, 0, 0, 0, 0)))
    message.p = np.array([50.0, 0, 30, 0, 0, 51, 20, 0, 0, 0, 1, 0])
    assert camera_of(message, "x").is_distorted
    assert camera_of(message, "x", rectified=True) == Camera(64, 48, 50, 51, 30, 20)


@pytest.mark.parametrize(
    ("model", "count", "words"),
    [
        ("plumb_bob", 3, "3 distortion coefficients; plumb_bob has 4 or 5"),
        ("fov", 1, "'fov' is not supported"),
    ],
)
def test_unusable_lenses(model: str, count: int, words: str) -> None:
    message = camera_info(0, "camera", Camera(64, 48, 60, 60, 31.5, 23.5))
    message.distortion_model, message.d = model, np.full(count, 0.1)
    with pytest.raises(InputError, match=f"info: .*{words}"):
        camera_of(message, "info")
