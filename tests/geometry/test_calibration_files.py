"""Calibration files of ROS and of other tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera

Read = Callable[..., Camera]
PLAIN = Camera(640, 480, 525, 526, 320, 240)
LENS = Camera(640, 480, 525, 526, 320, 240, "plumb_bob", (-0.3, 0.1, 0.001, 0.002, 0))
K = "[525.0, 0, 320, 0, 526, 240, 0, 0, 1]"
D = "[-0.3, 0.1, 0.001, 0.002, 0]"
SIZE = "image_width: 640\nimage_height: 480\n"
ROS = (
    f"{SIZE}camera_name: c\ncamera_matrix: {{rows: 3, cols: 3, data: {K}}}\n"
    f"distortion_coefficients: {{rows: 1, cols: 5, data: {D}}}\n"
    "projection_matrix: {rows: 3, cols: 4, data: [500, 0, 310, 0, 0, 501, 230, 0, 0, 0, 1, 0]}\n"
)
ECHO = (
    "header:\n  stamp:\n    sec: 1\n    nanosec: 0\n  frame_id: cam\nheight: 480\nwidth: 640\n"
    f"distortion_model: plumb_bob\nd: {D}\nk: {K}\nr: [1, 0, 0, 0, 1, 0, 0, 0, 1]\n"
    f"p: [500, 0, 310, 0, 0, 501, 230, 0, 0, 0, 1, 0]\nbinning_x: 0\nbinning_y: 0\n"
    "roi:\n  x_offset: 0\n  y_offset: 0\n  height: 0\n  width: 0\n  do_rectify: false\n---\n"
)
OPENCV = (
    f"%YAML:1.0\n---\n{SIZE}camera_matrix: !!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n   data: {K}\n"
    f"distortion_coefficients: !!opencv-matrix\n   rows: 5\n   cols: 1\n   dt: d\n   data: {D}\n"
)
KALIBR = (
    "cam0:\n  camera_model: pinhole\n  intrinsics: [525, 526, 320, 240]\n  distortion_model: radtan\n"
    "  distortion_coeffs: [-0.3, 0.1, 0.001, 0.002]\n  resolution: [640, 480]\n  rostopic: /cam0/image_raw\n"
)
EUROC = (
    "sensor_type: camera\nT_BS:\n  cols: 4\n  rows: 4\n  data: [1, 0, 0, 0]\nrate_hz: 20\n"
    "resolution: [640, 480]\ncamera_model: pinhole\nintrinsics: [525, 526, 320, 240]\n"
    "distortion_model: radial-tangential\ndistortion_coefficients: [-0.3, 0.1, 0.001, 0.002]\n"
)


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def from_text(text: str, size: tuple[int, int] | None = None, rectified: bool = False) -> Camera:
        path = tmp_path / "camera.yaml"
        path.write_text(text, encoding="utf-8")
        return Camera.from_file(path, size, rectified=rectified)

    return from_text


FILES = {
    "with camera_model": ROS + "camera_model: plumb_bob\n",
    "without a model": ROS,
    "with an empty model": ROS + 'distortion_model: ""\n',
    "of camera_calibration": ROS + "distortion_model: plumb_bob\n",
    "with a byte order mark": "\ufeff" + ROS,
    "ros2 topic echo": ECHO,
    "of the last of several messages": ECHO.replace("525.0", "0").replace("526", "0") + ECHO,
    "rostopic echo": ECHO.replace("\nd:", "\nD:").replace("\nk:", "\nK:").replace("\np:", "\nP:"),
    "OpenCV": OPENCV,
    "OpenCV with capital letters": OPENCV.replace("camera_matrix", "Camera_Matrix").replace(
        "distortion_coefficients", "Distortion_Coefficients"
    ),
    **{
        f"with {key}": ROS.replace("distortion_coefficients", key)
        for key in ("dist_coeff", "dist_coeffs", "distCoeffs", "distortion", "dist")
    },
    "Kalibr": KALIBR,
    "EuRoC": EUROC,
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_every_kind(read: Read, name: str) -> None:
    camera = read(FILES[name])
    assert camera.distortion[:4] == LENS.distortion[:4]
    assert (camera.distortion_model, *camera.matrix.ravel()) == ("plumb_bob", *LENS.matrix.ravel())
    assert (camera.width, camera.height) == (640, 480)


def test_a_fisheye_of_opencv_and_of_kalibr(read: Read) -> None:
    opencv = (
        OPENCV.replace("rows: 5", "rows: 4").replace(D, "[-0.3, 0.1, 0.001, 0.002]") + "fisheye_model: 1\n"
    )
    for text in (opencv, KALIBR.replace("radtan", "equidistant"), KALIBR.replace("radtan", "equi")):
        assert read(text).distortion_model == "equidistant"


def test_a_file_without_a_size_is_for_the_image(read: Read) -> None:
    for text in (ROS.replace(SIZE, ""), ROS.replace("640", "0").replace("480", "0")):
        assert read(text, (640, 480)) == LENS
        with pytest.raises(InputError, match="size 0x0 is not positive"):
            read(text)
    with pytest.raises(InputError, match="principal point 320, 240 is not inside the image of 320x240"):
        read(ROS.replace(SIZE, ""), (320, 240))


def test_rectified_images_have_p_or_else_k(read: Read) -> None:
    for text in (ROS, ECHO):
        assert read(text, rectified=True) == Camera(640, 480, 500, 501, 310, 230)
    zeros = ROS.replace("[500, 0, 310, 0, 0, 501, 230, 0, 0, 0, 1, 0]", str([0] * 12))
    for text in (zeros, OPENCV, KALIBR, EUROC):
        assert read(text, rectified=True) == PLAIN


def test_region_and_binning_of_a_message(read: Read) -> None:
    camera = read(ECHO.replace("binning_x: 0\nbinning_y: 0", "binning_x: 2\nbinning_y: 2"))
    assert (camera.width, camera.height, camera.fx) == (320, 240, 262.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a camera_info YAML"),
        ("[1, 2", "not a camera_info YAML (ParserError)"),
        ("a: 1", "not a camera_info YAML ('camera_matrix'); it needs image_width"),
        (ROS.replace(K, "[525, 0]"), "a matrix of 3x3 has 2 numbers"),
        (ROS.replace(D, "[a]"), "not a camera_info YAML (ValueError)"),
        (ROS.replace("640", ".inf"), "not a camera_info YAML (OverflowError)"),
        (ROS + "roi: {width: .inf}\n", "not a camera_info YAML (OverflowError)"),
        (KALIBR + KALIBR.replace("cam0", "cam1"), "is a Kalibr camchain of cam0, cam1; keep only"),
        (KALIBR.replace("pinhole", "omni"), "camera model 'omni' is not supported; use pinhole"),
        (EUROC.replace("radial-tangential", "fov"), "the distortion model 'fov' is not supported"),
        ("%YAML:1.0\nCamera.fx: 525\nCamera.fy: 526\n", "is a calibration of ORB-SLAM, which is not read"),
        ("model_type: PINHOLE\nprojection_parameters:\n   fx: 525\n", "is a calibration of camodocal"),
        (ROS.replace(K, "[525, 0, 0, 0, 526, 0, 320, 240, 1]"), "the matrix is transposed"),
        (ROS + "distortion_model: none\n", "the distortion model is 'none', but 5"),
        (ROS.replace(D, f"[0, {D[1:]}"), "a matrix of 1x5 has 6 numbers"),
    ],
)
def test_other_files_are_refused_in_one_line(read: Read, text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'camera.yaml'}: ") and words in message and "\n" not in message
