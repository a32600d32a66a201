"""ScanNet scans as exported by SensReader."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from raw_layouts import CAMERA, png, recording

from diff2i2p_core.datasets.check import check_set
from diff2i2p_core.datasets.prepare import prepare
from diff2i2p_core.datasets.scannet import SOURCE, scannet
from diff2i2p_core.datasets.sources import find_source
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import rotation_error_deg, translation_error
from diff2i2p_core.io.rgbd_folder import Frame

WIDE = Camera(324, 242, 262.5, 262.5, 161.5, 120.5)
"""Of the images, which are larger than depth and of another shape, as in ScanNet."""


def write_scan(folder: Path, frames: tuple[Frame, ...], step: int = 20) -> Path:
    """Frames 0, 20, 40, ...; tracking was lost in the third."""
    for part in ("color", "depth", "pose", "intrinsic"):
        (folder / part).mkdir(parents=True)
    for frame in frames:
        number = frame.number * step
        image = cv2.resize(frame.image, (320, 240), interpolation=cv2.INTER_NEAREST)
        image = cv2.copyMakeBorder(image, 1, 1, 2, 2, cv2.BORDER_REPLICATE)
        (folder / "color" / f"{number}.jpg").write_bytes(cv2.imencode(".jpg", image[..., ::-1])[1].tobytes())
        (folder / "depth" / f"{number}.png").write_bytes(png(frame.depth))
        pose = np.full((4, 4), -np.inf) if frame.number == 2 else frame.world_from_camera
        np.savetxt(folder / "pose" / f"{number}.txt", pose, "%.6f")
    for name, camera in (("color", WIDE), ("depth", CAMERA)):
        matrix = np.eye(4)
        matrix[:3, :3] = camera.matrix
        np.savetxt(folder / "intrinsic" / f"intrinsic_{name}.txt", matrix, "%.6f")
        np.savetxt(folder / "intrinsic" / f"extrinsic_{name}.txt", np.eye(4), "%.6f")
    return folder


def test_frames_have_the_size_of_depth_and_its_values(tmp_path: Path) -> None:
    frames = recording(6)
    (scan,) = scannet(write_scan(tmp_path / "scene0000_00", frames))
    assert scan.numbers == (0, 20, 60, 80, 100)  # not 40, which has no pose
    assert scan.scene == "scene0000-00"
    assert (scan.camera.width, scan.camera.height) == (CAMERA.width, CAMERA.height)
    frame, truth = scan.frame(2), frames[3]
    assert frame.image.shape == truth.image.shape
    assert np.abs(frame.image.astype(int) - truth.image).mean() < 8
    both = (frame.depth > 0) & (truth.depth > 0)
    assert both.mean() > 0.8
    assert np.median(np.abs(frame.depth - truth.depth)[both]) < 0.005
    assert translation_error(frame.world_from_camera, truth.world_from_camera) < 1e-5
    assert rotation_error_deg(frame.world_from_camera, truth.world_from_camera) < 1e-2


def test_a_folder_of_scans_becomes_pairs(tmp_path: Path) -> None:
    for name in ("scene0000_00", "scene0000_01"):
        write_scan(tmp_path / "scans" / name, recording(30))
    settings = SOURCE.settings.model_copy(
        update={"window": 3, "gap": 3, "voxel": 0.05, "test": ("scene0000-01",), "val": 0.2}
    )
    assert find_source("scannet") is SOURCE
    dataset = prepare("scannet", lambda _: scannet(tmp_path / "scans"), tmp_path / "set", settings)
    assert set(dataset.scenes) == {"scene0000-00", "scene0000-01"}
    assert all(counts["pairs"] > 0 for counts in dataset.subsets.values())
    assert check_set(tmp_path / "set", sample=5).problems == []


def test_incomplete_exports_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no folder pose; give an exported scan"):
        scannet(tmp_path)
    folder = write_scan(tmp_path / "scene0000_00", recording(3))
    (scan,) = scannet(folder)
    apart = np.eye(4)
    apart[0, 3] = 0.1
    np.savetxt(folder / "intrinsic" / "extrinsic_color.txt", apart)
    with pytest.raises(InputError, match=r"extrinsic_color\.txt: not the identity"):
        scan.frame(0)
    (folder / "intrinsic" / "intrinsic_depth.txt").unlink()
    (folder / "intrinsic" / "extrinsic_color.txt").unlink()
    with pytest.raises(InputError, match=r"intrinsic_depth\.txt: cannot be read; an exported scan has it"):
        scan.frame(0)
    (folder / "pose" / "0.txt").write_text("1 2 3")
    with pytest.raises(InputError, match=r"pose/0\.txt: not a finite rigid 4x4 transform"):
        scan.world_from_camera(0)
    for path in (folder / "depth").glob("*.png"):
        path.unlink()
    with pytest.raises(InputError, match=r"no frame has color/N\.jpg, depth/N\.png and a pose"):
        scannet(folder)
