"""TUM sequences and RGB-D Scenes V2 in their raw layouts."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from raw_layouts import CAMERA, png, recording
from typer.testing import CliRunner

from diff2i2p_core.cli.main import app
from diff2i2p_core.datasets.dataset_file import read_dataset
from diff2i2p_core.datasets.tum import _CAMERAS as tum_cameras
from diff2i2p_core.datasets.tum import tum
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.se3 import rotation_error_deg, to_quaternion, translation_error
from diff2i2p_core.io.rgbd_folder import PosedFrames

REPO = Path(__file__).parents[2]
FRAMES = recording(30)
INTRINSICS = "131.25,131.25,79.5,59.5"


def write_tum(folder: Path) -> Path:
    """30 images at 30 Hz, depth 8 ms later, true poses at 100 Hz and never at an image's stamp."""
    (folder / "rgb").mkdir(parents=True)
    (folder / "depth").mkdir()
    lists: dict[str, list[str]] = {
        "rgb": ["# color images"],
        "depth": ["# depth"],
        "groundtruth": ["# truth"],
    }
    for frame in FRAMES:
        stamp = 1_305_031_102.1758 + frame.number / 30
        for name, at, content in (
            ("rgb", stamp, png(frame.image)),
            ("depth", stamp + 0.008, cv2.imencode(".png", np.rint(frame.depth * 5000).astype(np.uint16))[1]),
        ):
            (folder / name / f"{at:.6f}.png").write_bytes(bytes(content))
            lists[name].append(f"{at:.6f} {name}/{at:.6f}.png")
    for tick in range(-3, 105):
        at = 1_305_031_102.1758 + tick / 100 + 0.004
        pose = FRAMES[0].world_from_camera.copy()
        pose[0, 3] += 0.02 * 30 * (tick / 100 + 0.004)
        values = " ".join(f"{value:.6f}" for value in [*pose[:3, 3], *to_quaternion(pose)])
        lists["groundtruth"].append(f"{at:.4f} {values}")
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_images_get_the_depth_and_the_pose_of_their_time(tmp_path: Path) -> None:
    (found,) = tum(write_tum(tmp_path / "desk"), INTRINSICS)
    assert (found.scene, found.camera, found.numbers) == ("desk", CAMERA, list(range(30)))
    for index in (0, 13, 29):
        frame, truth = found.frame(index), FRAMES[index]
        np.testing.assert_array_equal(frame.image, truth.image)
        np.testing.assert_allclose(frame.depth, truth.depth, atol=2e-4)
        # Its stamps are written to 0.1 ms, in which the camera moves 0.06 mm.
        assert translation_error(frame.world_from_camera, truth.world_from_camera) < 1e-4
        assert rotation_error_deg(frame.world_from_camera, truth.world_from_camera) < 1e-3


def test_a_folder_of_sequences_becomes_pairs(tmp_path: Path) -> None:
    write_tum(tmp_path / "raw" / "desk")
    arguments = ["prepare", "tum", str(tmp_path / "raw"), str(tmp_path / "set"), "--camera", INTRINSICS]
    arguments += ["--window", "3", "--gap", "3", "--voxel", "0.05", "--processes", "1"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    dataset = read_dataset(tmp_path / "set")
    assert dataset.scenes["desk"]["frames"] == 30
    assert all(counts["pairs"] for counts in dataset.subsets.values())


def test_the_documented_way_to_a_posed_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (REPO / "docs/training.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?datasets\.tum.*?)```", text, re.DOTALL)
    write_tum(tmp_path / "rgbd_dataset_freiburg3_teddy")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(tum_cameras, "3", CAMERA)
    exec(code, {})
    frames = PosedFrames(tmp_path / "tum_fr3_teddy")
    assert frames.numbers == list(range(30)) and frames.camera == CAMERA
    np.testing.assert_allclose(frames[7].depth, FRAMES[7].depth, atol=6e-4)
    assert translation_error(frames[7].world_from_camera, FRAMES[7].world_from_camera) < 1e-4


def test_images_without_depth_or_pose_are_left_out(tmp_path: Path) -> None:
    folder = write_tum(tmp_path / "desk")
    lines = (folder / "depth.txt").read_text().splitlines()
    (folder / "depth.txt").write_text("\n".join(lines[:5] + lines[6:]) + "\n")
    truth = (folder / "groundtruth.txt").read_text().splitlines()
    (folder / "groundtruth.txt").write_text("\n".join(truth[:50] + truth[57:]) + "\n")
    (found,) = tum(folder, INTRINSICS)
    assert sorted(set(range(30)) - set(found.numbers)) == [4, 14, 15, 16]


def test_cameras_by_the_folders_name(tmp_path: Path) -> None:
    folder = write_tum(tmp_path / "rgbd_dataset_freiburg3_desk")
    assert tum(folder)[0].camera.fx == 535.4
    assert tum(write_tum(tmp_path / "rgbd_dataset_freiburg1_xyz"))[0].lens.is_distorted
    with pytest.raises(InputError, match="does not contain freiburg1, 2 or 3; give its camera as"):
        tum(write_tum(tmp_path / "desk"))


def test_broken_lists(tmp_path: Path) -> None:
    def fails(name: str, text: str | None, words: str) -> None:
        folder = write_tum(tmp_path / f"{len(list(tmp_path.iterdir()))}")
        if text is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(text)
        with pytest.raises(InputError, match=words):
            _ = tum(folder, INTRINSICS)[0].numbers

    fails("depth.txt", None, r"depth\.txt: cannot be read")
    fails("rgb.txt", "# nothing\n", r"rgb\.txt: lists nothing")
    fails("rgb.txt", "2.0 a.png\n1.0 b.png\n", r"rgb\.txt, line 2: its stamp is not after the one before")
    fails("depth.txt", "2.0 a.png b.png\n", r"depth\.txt, line 1: not a stamp and 1 values")
    fails("groundtruth.txt", "1.0 0 0 0 0 0 0 0\n", r"groundtruth\.txt: not lines")
    fails("groundtruth.txt", "1.0 0 0 0 0 0 0 1\n", "no image has depth and a pose within 20 ms")
    with pytest.raises(InputError, match=r"holds no rgb\.txt"):
        tum(tmp_path / "0" / "depth")
