"""The size that an image of a camera must have."""

from __future__ import annotations

import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera

CAMERA = Camera(640, 480, 500, 500, 319.5, 239.5)


def test_images_of_the_cameras_size_are_taken() -> None:
    for shape in ((480, 640), (480, 640, 3)):
        CAMERA.check_size(shape, "image")


@pytest.mark.parametrize("shape", [(640, 480), (480, 639, 3), (479, 640)])
def test_images_of_another_size_are_named_with_both_sizes(shape: tuple[int, ...]) -> None:
    words = f"^depth of frame 7: {shape[1]}x{shape[0]} pixels, but the calibration is for 640x480; give "
    with pytest.raises(InputError, match=words):
        CAMERA.check_size(shape, "depth of frame 7")
