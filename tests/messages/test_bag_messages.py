"""Messages of a bag to images and cameras."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from bag_writer import camera_info, compressed, image

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.messages.cameras import camera_of, has_size
from diff2i2p_core.messages.images import image_of, size_of

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


def test_a_message_without_a_size_is_for_the_image() -> None:
    message = camera_info(0, "camera", Camera(64, 48, 60, 60, 31.5, 23.5))
    assert has_size(message)
    message.width = message.height = 0
    assert not has_size(message)
    assert camera_of(message, "info", (64, 48)) == Camera(64, 48, 60, 60, 31.5, 23.5)
    message.binning_x = message.binning_y = 2
    assert camera_of(message, "info", (32, 24)) == Camera(32, 24, 30, 30, 15.5, 11.5)
    with pytest.raises(InputError, match="info: camera: size 0x0 is not positive"):
        camera_of(message, "info")


def test_the_principal_point_of_another_resolution_is_refused() -> None:
    message = camera_info(0, "camera", Camera(640, 480, 600, 600, 320, 240))
    message.width, message.height = 320, 240
    with pytest.raises(InputError, match="info: camera: the principal point 320, 240 is not inside"):
        camera_of(message, "info")


RAMP16 = (RAMP.astype(np.uint16) * 257)[..., [0, 0, 0]] + np.arange(3, dtype=np.uint16) * 257 * 10
"""A ramp whose channels differ, in 16 bits."""
EIGHT = (RAMP16 // 257).astype(np.uint8)


@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("encoding", ["rgb16", "bgr16", "rgba16", "bgra16", "mono16"])
def test_sixteen_bits_are_scaled_to_eight(encoding: str, big: int) -> None:
    pixels = RAMP16 if encoding.startswith("rgb") else RAMP16[..., ::-1]
    expected = EIGHT
    if encoding.endswith("a16"):
        pixels = np.dstack([pixels, np.full(pixels.shape[:2], 9, np.uint16)])
    if encoding == "mono16":
        pixels, expected = RAMP16[..., :1], EIGHT[..., [0, 0, 0]]
    message = image(0, "camera", pixels.astype(">u2" if big else "<u2"), encoding)
    message.is_bigendian = big
    np.testing.assert_array_equal(image_of(message, "image 0"), expected)


@pytest.mark.parametrize(("encoding", "like"), [("8UC1", "mono8"), ("8UC3", "bgr8"), ("8UC4", "bgra8")])
def test_opencvs_encodings_are_as_in_cv_bridge(encoding: str, like: str) -> None:
    pixels = np.dstack([EIGHT, EIGHT[..., :1]])[..., : int(encoding[-1])]
    named = image_of(image(0, "camera", pixels, like), "image 0")
    np.testing.assert_array_equal(image_of(image(0, "camera", pixels, encoding), "image 0"), named)
    assert len(np.unique(named.reshape(-1, 3), axis=0)) > 20


def mosaic(rgb: tuple[int, int, int], pattern: str, kind: str) -> np.ndarray:
    """A plain image of one colour through a Bayer pattern."""
    value = dict(zip("rgb", rgb, strict=True))
    pixels = np.empty((48, 64), kind)
    for place, letter in enumerate(pattern):
        pixels[place // 2 :: 2, place % 2 :: 2] = value[letter] * (257 if kind == "u2" else 1)
    return pixels


PLAIN = (200, 120, 40)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_of_sixteen_bits(pattern: str) -> None:
    rgb = image_of(image(0, "camera", mosaic(PLAIN, pattern, "u2"), f"bayer_{pattern}16"), "image 0")
    np.testing.assert_array_equal(rgb[2:-2, 2:-2], np.broadcast_to(PLAIN, (44, 60, 3)))


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("form", ["{0}; png compressed {0}", "{0}; png compressed ", "{0}"])
def test_a_compressed_mosaic_gets_its_colours(pattern: str, bits: int, form: str) -> None:
    data = cv2.imencode(".png", mosaic(PLAIN, pattern, f"u{bits // 8}"))[1].tobytes()
    rgb = image_of(compressed(0, "camera", data, form.format(f"bayer_{pattern}{bits}")), "image 0")
    np.testing.assert_array_equal(rgb[2:-2, 2:-2], np.broadcast_to(PLAIN, (44, 60, 3)))


def test_a_file_that_is_no_mosaic_any_more_is_taken_as_it_is() -> None:
    """image_transport_plugins makes colours or grey of a mosaic, if it is told to, before it compresses."""
    colour = cv2.imencode(".png", EIGHT[..., ::-1])[1].tobytes()
    for form in ("bayer_rggb8; png compressed bgr8", "bayer_rggb8; png compressed"):
        np.testing.assert_array_equal(image_of(compressed(0, "camera", colour, form), "image 0"), EIGHT)
    grey = cv2.imencode(".png", EIGHT[..., 0])[1].tobytes()
    rgb = image_of(compressed(0, "camera", grey, "bayer_rggb8; png compressed mono8"), "image 0")
    np.testing.assert_array_equal(rgb, EIGHT[..., [0, 0, 0]])


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_half_the_colour_in_a_plane_of_its_own(encoding: str) -> None:
    y, u, v = 112, 93, 184  # of (200, 80, 40) by the formulas of BT.601
    colours = np.tile(np.array([u, v] if encoding == "nv12" else [v, u], np.uint8), (24, 32))
    message = image(0, "camera", np.vstack([np.full((48, 64), y, np.uint8), colours]), encoding)
    message.height = 48
    rgb = image_of(message, "image 0")
    assert rgb.shape == (48, 64, 3)
    np.testing.assert_allclose(rgb, np.broadcast_to([200, 80, 40], rgb.shape), atol=3)
    message.data = message.data[: 48 * 64]
    with pytest.raises(InputError, match="3072 bytes of data, but 72 rows x step 64"):
        image_of(message, "image 0")
    odd = image(0, "camera", np.zeros((10, 8), np.uint8), encoding)
    odd.height = 7
    with pytest.raises(InputError, match="odd size 8x7"):
        image_of(odd, "image 0")


@pytest.mark.parametrize("suffix", [".webp", ".png", ".jpg"])
def test_compressed_files(suffix: str) -> None:
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []
    data = cv2.imencode(suffix, np.ascontiguousarray(RAMP), options)[1].tobytes()
    message = compressed(0, "camera", data, suffix[1:])
    assert size_of(message, "image 0") == (64, 48)
    np.testing.assert_allclose(image_of(message, "image 0"), RAMP, atol=4)


def test_the_size_of_depth_is_known_without_decoding() -> None:
    data = bytes(12) + cv2.imencode(".png", np.zeros((48, 64), np.uint16))[1].tobytes()
    assert size_of(compressed(0, "camera", data, "16UC1; compressedDepth png"), "depth") == (64, 48)
    assert size_of(image(0, "camera", np.zeros((48, 64), np.uint16), "16UC1"), "depth") == (64, 48)


def test_strips_are_refused_before_they_are_decoded() -> None:
    strip = image(0, "camera", np.zeros((16, 1024), np.uint8), "mono8")
    with pytest.raises(InputError, match="image 0: the size is 1024x16, a strip"):
        image_of(strip, "image 0")
