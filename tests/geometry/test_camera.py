"""Cameras: the size of their images, and calibrations that cannot be or may not be those of an image."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.calibration import Calibration
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.distortion import COEFFICIENTS, SYNONYMS

CAMERA = Camera(640, 480, 500, 500, 319.5, 239.5)


def test_points_of_pixels_and_depths_project_to_them() -> None:
    rng = np.random.default_rng(0)
    pixels, depth = rng.uniform([0, 0], [640, 480], (50, 2)), rng.uniform(0.5, 80, 50)
    back, z = CAMERA.project(CAMERA.unproject(pixels, depth))
    np.testing.assert_allclose(back, pixels, atol=1e-9)
    np.testing.assert_array_equal(z, depth)


def test_images_of_the_cameras_size_are_taken() -> None:
    for shape in ((480, 640), (480, 640, 3)):
        CAMERA.check_size(shape, "image")


@pytest.mark.parametrize("shape", [(640, 480), (480, 639, 3), (479, 640)])
def test_images_of_another_size_are_named_with_both_sizes(shape: tuple[int, ...]) -> None:
    words = f"^depth of frame 7: {shape[1]}x{shape[0]} pixels, but the calibration is for 640x480; give "
    with pytest.raises(InputError, match=words):
        CAMERA.check_size(shape, "depth of frame 7")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1050,1050,640,480", "principal point 640, 480 is not inside the image of 640x480"),
        ("1050,1050,639.5,479.5", "principal point"),
        ("525,525,-1,240", "principal point"),
        ("525,525,320,500", "principal point"),
        ("525,525,0,0", "principal point"),
        ("0.8,1.1,0.5,0.5", "are not those of an image of 640x480; give them in pixels"),
        ("4.2,4.2,320,240", "give them in pixels"),
        ("nan,525,320,240", "NaN"),
        ("0,0,0,0", "focal lengths"),
    ],
)
def test_intrinsics_that_cannot_be_the_images_are_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Camera.from_text(text, 640, 480)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("525,525,512.5,384.5", "principal point 512.5, 384.5"),
        ("262,262,160,120", "principal point"),
        ("525,525,320,180", "principal point"),
        ("525,700,320,240", "focal lengths 525 and 700"),
    ],
)
def test_doubtful_intrinsics_are_named(text: str, words: str) -> None:
    (doubt,) = Camera.from_text(text, 640, 480).doubts
    assert words in doubt and doubt.startswith("the calibration may be of another image")


@pytest.mark.parametrize("text", ["525,525,320,240", "517.3,516.5,318.6,255.3", "320,320,350,210"])
def test_usual_intrinsics_raise_no_doubt(text: str) -> None:
    assert Camera.from_text(text, 640, 480).doubts == []


def test_the_corner_of_a_region_of_interest_may_lie_off_the_middle() -> None:
    whole = Calibration(CAMERA.matrix, 640, 480, roi=(400, 300, 200, 100))
    camera = Camera.of(whole)
    assert (camera.width, camera.height, camera.cx, camera.cy) == (200, 100, -80.5, -60.5)
    with pytest.raises(InputError, match="principal point"):
        Camera.of(replace(whole, width=200, height=100, roi=(0, 0, 200, 100)))


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        ([[525, 0, 0], [0, 525, 0], [320, 240, 1]], "last row .* is 320 240 1, not 0 0 1, .* transposed"),
        ([[525, 0, 320], [0, 525, 240], [0, 0, 2]], "last row .* is 0 0 2, not 0 0 1; give"),
        ([[525, 9, 320], [0, 525, 240], [0, 0, 1]], r"skew \(9, 0\)"),
    ],
)
def test_matrices_of_another_form_are_refused(matrix: list[list[float]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Camera.from_matrix(matrix, 640, 480)


def lens(model: str, *coefficients: float) -> tuple[str, tuple[float, ...]]:
    camera = Camera(640, 480, 500, 500, 319.5, 239.5, model, coefficients)
    return camera.distortion_model, camera.distortion


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (("", 0.1, 0, 0, 0), ("plumb_bob", (0.1, 0, 0, 0))),
        (("", 0.1, 0, 0, 0, 0, 0, 0, 0.2), ("rational_polynomial", (0.1, 0, 0, 0, 0, 0, 0, 0.2))),
        (("plumb_bob", 0.1, 0, 0, 0, 0.2, 0, 0, 0), ("plumb_bob", (0.1, 0, 0, 0, 0.2))),
        (("rational_polynomial", 0.1, 0, 0, 0, 0.2), ("rational_polynomial", (0.1, 0, 0, 0, 0.2))),
        (("equidistant", 0.1, 0, 0, 0, 0), ("equidistant", (0.1, 0, 0, 0))),
        (("fisheye", 0.1, 0, 0, 0), ("equidistant", (0.1, 0, 0, 0))),
        (("Kannala Brandt4", 0.1, 0, 0, 0), ("equidistant", (0.1, 0, 0, 0))),
        (("radial-tangential", 0.1, 0, 0, 0), ("plumb_bob", (0.1, 0, 0, 0))),
        (("fov", 0, 0), ("none", ())),
        (("none",), ("none", ())),
    ],
)
def test_names_and_extra_zeros_of_distortion(
    given: tuple[str, float], taken: tuple[str, tuple[float, ...]]
) -> None:
    assert lens(*given) == taken


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("plumb_bob", 0.1), "1 distortion coefficients; plumb_bob has 4 or 5"),
        (("plumb_bob", 0.1, 0, 0), "3 distortion coefficients"),
        (("plumb_bob", 0.1, 0, 0, 0, 0, 0.1), "6 distortion coefficients; plumb_bob has 4 or 5"),
        (("rational_polynomial", 0.1, 0, 0, 0, 0, 0), "6 distortion .* has 4 or 5 or 8 or 12 or 14"),
        (("equidistant", 0.1, 0, 0, 0, 0.1), "5 distortion coefficients; equidistant has 4"),
        (("", 0.1, 0.2), "2 distortion coefficients"),
        (("none", 0.1, 0, 0, 0), "is 'none', but 4 distortion coefficients are not all 0"),
        (("fov", 0.9), "'fov' is not supported; use one of plumb_bob, rational_polynomial, equidistant"),
    ],
)
def test_unusable_distortion_is_named(given: tuple[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        lens(*given)


def test_every_number_of_coefficients_can_be_rectified() -> None:
    """And OpenCV takes what is told to be possible."""
    image = np.zeros((48, 64, 3), np.uint8)
    for model, counts in COEFFICIENTS.items():
        for count in counts:
            camera = Camera(64, 48, 50, 50, 31.5, 23.5, model, (0.01,) * count)
            assert camera.rectify(image).shape == image.shape
    with pytest.raises(cv2.error):
        cv2.undistort(image, CAMERA.matrix, np.full(3, 0.1))


def test_synonyms_lead_to_known_models() -> None:
    assert set(SYNONYMS.values()) == set(COEFFICIENTS)


@pytest.mark.parametrize("roi", [(400, 0, 300, 400), (0, 300, 640, 200), (-8, 0, 64, 48), (10, 0, 0, 0)])
def test_a_region_of_interest_beyond_the_image_is_refused(roi: tuple[int, int, int, int]) -> None:
    k = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    with pytest.raises(InputError, match=r"region of interest, .* reaches beyond the full image of 640x480"):
        Camera.of(Calibration(k, 640, 480, roi=roi))
    Camera.of(Calibration(k, 640, 480, roi=(340, 80, 300, 400)))
