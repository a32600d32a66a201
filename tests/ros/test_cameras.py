"""CameraInfo to Camera: distortion, region of interest, binning, rectified images, nonsense."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from sensor_msgs.msg import CameraInfo

from diff2i2p.cameras import camera_from_info


def _info(model: str = "plumb_bob", distortion: tuple[float, ...] = (0.0,) * 5) -> CameraInfo:
    return CameraInfo(
        width=640,
        height=480,
        distortion_model=model,
        d=list(distortion),
        k=[500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0],
        p=[400.0, 0.0, 310.0, 0.0, 0.0, 410.0, 230.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def test_pinhole_and_rectified() -> None:
    assert camera_from_info(_info()) == Camera(640, 480, 500, 510, 320, 240)
    distorted = _info(distortion=(0.1, 0.0, 0.0, 0.0, 0.0))
    assert camera_from_info(distorted, rectified=True) == Camera(640, 480, 400, 410, 310, 230)


def test_region_of_interest_and_binning_keep_the_rays() -> None:
    """A point of the scene falls on the same spot, counted from the region's corner and in binned pixels."""
    info = _info()
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 100, 60, 400, 320
    info.binning_x = info.binning_y = 2
    camera = camera_from_info(info)
    assert (camera.width, camera.height) == (200, 160)
    point = np.array([[0.1, -0.2, 2.0]])
    full = camera_from_info(_info()).project(point)[0][0]
    expected = (full - [100, 60] + 0.5) / 2 - 0.5
    np.testing.assert_allclose(camera.project(point)[0][0], expected)


@pytest.mark.parametrize(
    ("model", "distortion"),
    [
        ("plumb_bob", (-0.25, 0.08, 0.001, -0.0005, 0.0)),
        ("rational_polynomial", (0.4, -0.1, 0.001, 0.0005, 0.01, 0.6, -0.05, 0.02)),
        ("equidistant", (0.05, -0.01, 0.003, -0.001)),
    ],
)
def test_rectified_images_are_pinhole_images(model: str, distortion: tuple[float, ...]) -> None:
    """A dot drawn where the lens puts a ray is moved to where the pinhole camera puts it."""
    camera = camera_from_info(_info(model, distortion))
    ray = np.array([[[0.3, -0.2, 1.0]]])
    if model == "equidistant":
        flat = ray[:, :, :2]
        pixel = cv2.fisheye.distortPoints(flat, camera.matrix, np.array(distortion)).ravel()
    else:
        zero = np.zeros(3)
        pixel = cv2.projectPoints(ray, zero, zero, camera.matrix, np.array(distortion))[0].ravel()
    image = np.zeros((480, 640, 3), np.uint8)
    cv2.circle(image, tuple(int(v) for v in np.rint(pixel)), 4, (255, 255, 255), -1)
    rectified, pinhole = camera.rectify(image), camera.undistorted()
    rows, columns = np.nonzero(rectified[..., 0] > 128)
    expected = pinhole.project(ray[0])[0][0]
    assert not pinhole.is_distorted
    assert np.hypot(columns.mean() - expected[0], rows.mean() - expected[1]) < 1.0
    assert np.hypot(*(pixel - expected)) > 3  # the lens does move it


def test_invalid_values_are_named() -> None:
    for change, words in (
        ({"k": [float("nan")] * 9}, "NaN"),
        ({"k": [0.0] * 9}, "focal lengths"),
        ({"width": 0}, "not positive"),
        ({"distortion_model": "fov", "d": [0.5]}, "'fov' is not supported"),
        ({"d": [0.1, 0.2, 0.3]}, "plumb_bob has 4 or 5"),
        ({"d": [float("nan")] * 5}, "NaN"),
    ):
        info = _info()
        for name, value in change.items():
            setattr(info, name, value)
        with pytest.raises(InputError, match=words) as caught:
            camera_from_info(info)
        assert str(caught.value).startswith("camera_info: ")
