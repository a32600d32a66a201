"""Posed RGB-D folders as users have them: lens distortion, EXIF, other sizes, frames without a pose."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import back_project
from diff2i2p_core.geometry.se3 import exp
from diff2i2p_core.io.image_files import read_image, write_image
from diff2i2p_core.io.rgbd_folder import PosedFrames, write_matrix

LENS = Camera(160, 120, 130, 131, 80, 58, "plumb_bob", (-0.3, 0.1, 0.001, 0.002, 0.0))
YAML = """image_width: 160
image_height: 120
camera_matrix: {rows: 3, cols: 3, data: [130, 0, 80, 0, 131, 58, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.3, 0.1, 0.001, 0.002, 0]}
"""


def write_folder(folder: Path, count: int = 3, suffix: str = "png") -> Path:
    """Smooth images and depth of a slanted plane."""
    folder.mkdir()
    v, u = np.mgrid[:120, :160]
    image = np.stack([u, 2 * v, 255 - u], axis=2).astype(np.uint8)
    for number in range(count):
        name = f"frame-{number:06d}"
        write_image(folder / f"{name}.color.{suffix}", image)
        write_image(folder / f"{name}.depth.png", (1000 + 5 * u + 3 * v).astype(np.uint16))
        write_matrix(folder / f"{name}.pose.txt", exp([0, 0, 0.1 * number, number, 0, 0]))
    write_matrix(folder / "camera-intrinsics.txt", LENS.matrix)
    return folder


def turn_by_exif(path: Path, orientation: int) -> None:
    with Pillow.open(io.BytesIO(path.read_bytes())) as image:
        exif = image.getexif()
        exif[0x0112] = orientation
        image.save(path, exif=exif)


def test_lens_distortion_of_camera_yaml_is_removed(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "frames")
    (folder / "camera.yaml").write_text(YAML)
    frames = PosedFrames(folder)
    assert frames.camera == LENS.undistorted() == frames.depth_camera
    raw = read_image(folder / "frame-000000.color.png")
    np.testing.assert_array_equal(frames[0].image, LENS.rectify(raw))
    points, colors = frames.points(frames[0])
    pixels = cv2.projectPoints(
        points.astype(np.float64), np.zeros(3), np.zeros(3), LENS.matrix, np.array(LENS.distortion)
    )[0].reshape(-1, 2)
    # Where the lens images each point, its depth and colour were measured.
    measured = 1 + (5 * pixels[:, 0] + 3 * pixels[:, 1]) / 1000
    assert np.median(np.abs(points[:, 2] - measured)) < 0.003
    assert np.median(np.abs(colors[:, 0].astype(float) - pixels[:, 0])) < 1
    plain = back_project(frames[0].depth, LENS).reshape(-1, 3)
    np.testing.assert_allclose(points, plain[plain[:, 2] > 0], atol=1e-6)


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_exif_orientation_is_ignored(tmp_path: Path, orientation: int, suffix: str) -> None:
    folder = write_folder(tmp_path / "frames", suffix=suffix)
    path = folder / f"frame-000001.color.{suffix}"
    turn_by_exif(path, orientation)
    image = PosedFrames(folder)[1].image
    assert image.shape == (120, 160, 3)
    assert np.abs(image.astype(int) - PosedFrames(folder)[0].image).mean() < 4


@pytest.mark.parametrize("what", ["color", "depth"])
def test_an_image_or_depth_of_another_size_is_named(tmp_path: Path, what: str) -> None:
    folder = write_folder(tmp_path / "frames")
    shape = (160, 120, 3) if what == "color" else (160, 120)
    write_image(
        folder / f"frame-000001.{what}.png",
        np.full(shape, 500, np.uint16).astype("u2" if what == "depth" else "u1"),
    )
    frames = PosedFrames(folder)
    assert frames[0].image.shape[:2] == frames[0].depth.shape
    name = "image" if what == "color" else "depth"
    with pytest.raises(InputError, match=f"frames: {name} of frame 1: 120x160 pixels, .* is for 160x120"):
        frames[1]


BAD = {
    "infinite": "-inf 0 0 0\n0 -inf 0 0\n0 0 -inf 0\n0 0 0 1\n",
    "NaN": "nan 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n",
    "scaled": "2 0 0 0\n0 2 0 0\n0 0 2 0\n0 0 0 1\n",
    "mirrored": "-1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n",
    "cut": "1 0 0 0\n0 1 0",
    "empty": "",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_frame_without_a_valid_pose_is_left_out(tmp_path: Path, kind: str) -> None:
    folder = write_folder(tmp_path / "frames")
    (folder / "frame-000000.pose.txt").write_text(BAD[kind])
    notes: list[str] = []
    frames = PosedFrames(folder, notes.append)
    assert frames.numbers == [1, 2] and frames[0].number == 1
    assert notes == frames.notes
    assert "1 of 3 frames left out, because their pose is not a finite rigid 4x4 transform: 0" in notes[0]
    for number in (1, 2):
        (folder / f"frame-{number:06d}.pose.txt").write_text(BAD[kind])
    with pytest.raises(InputError, match=r"frame-000000.pose.txt: not a finite rigid 4x4 .* any other frame"):
        PosedFrames(folder)


def test_intrinsics_that_cannot_be_those_of_the_images(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "frames")
    write_matrix(folder / "camera-intrinsics.txt", LENS.matrix.T)
    with pytest.raises(InputError, match=r"camera-intrinsics.txt: camera: the last row .* transposed"):
        PosedFrames(folder)
    write_matrix(folder / "camera-intrinsics.txt", Camera(640, 480, 520, 520, 320, 240).matrix)
    with pytest.raises(
        InputError, match=r"camera-intrinsics.txt: .* 320, 240 is not inside the image of 160x120"
    ):
        PosedFrames(folder)
    (folder / "camera.yaml").write_text(YAML.replace("image_width: 160\nimage_height: 120\n", ""))
    assert PosedFrames(folder).camera.width == 160


def test_doubtful_intrinsics_are_said(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "frames")
    write_matrix(folder / "camera-intrinsics.txt", Camera(160, 120, 130, 130, 40, 30).matrix)
    notes: list[str] = []
    PosedFrames(folder, notes.append)
    assert len(notes) == 1 and "frames: the calibration may be of another image size" in notes[0]


def test_strips_are_refused(tmp_path: Path) -> None:
    for width, height in ((1024, 16), (10, 8000)):
        write_image(tmp_path / "strip.png", np.zeros((height, width, 3), np.uint8))
        with pytest.raises(InputError, match=rf"strip.png: the size is {width}x{height}, a strip; .* 20:1"):
            read_image(tmp_path / "strip.png")
